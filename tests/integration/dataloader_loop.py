import torch

import dali_cr

training, held_out = dali_cr.scan("data/").split((0.8, 0.2))
recipe = dali_cr.Restoration(crop=(16, 16, 16), swap=dali_cr.Swap(iterations=10, patch=(2, 4)))
loader = dali_cr.Loader(training, recipe, batch_size=2, device="cpu")  # or "cuda"
volumes = [dali_cr.read_volume(held_out.root / case.volumes[0].path) for case in held_out]
validation = torch.utils.data.DataLoader(volumes, num_workers=2)
network = torch.nn.Conv3d(1, 1, 3, padding=1).to(loader.device)
optimizer = torch.optim.AdamW(network.parameters())
for _ in range(3):
    for batch in loader:
        loss = (network(batch["input"]) - batch["target"]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        errors = [(network(volume.to(loader.device)).cpu() - volume).square().mean() for volume in validation]
