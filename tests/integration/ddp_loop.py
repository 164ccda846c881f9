import torch
from torch.nn.parallel import DistributedDataParallel

import dali_cr

torch.distributed.init_process_group()  # first: the loader reads its rank from it
recipe = dali_cr.Restoration(crop=(16, 16, 16), swap=dali_cr.Swap(iterations=10, patch=(2, 4)))
loader = dali_cr.Loader(dali_cr.scan("data/"), recipe, batch_size=2, device="cpu")  # or f"cuda:{local_rank}"
network = DistributedDataParallel(torch.nn.Conv3d(1, 1, 3, padding=1).to(loader.device))
optimizer = torch.optim.AdamW(network.parameters())
for _ in range(3):
    for batch in loader:  # the same number of steps on every rank
        loss = (network(batch["input"]) - batch["target"]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
torch.distributed.destroy_process_group()
