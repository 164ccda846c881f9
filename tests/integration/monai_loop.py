import torch
from monai.engines import SupervisedTrainer

import dali_cr

recipe = dali_cr.Restoration(crop=(16, 16, 16), swap=dali_cr.Swap(iterations=10, patch=(2, 4)))
loader = dali_cr.Loader(
    dali_cr.scan("data/"), recipe, batch_size=2, device="cpu",  # or "cuda"
    transform=lambda batch: {"image": batch["input"], "label": batch["target"]},
)  # fmt: skip
network = torch.nn.Conv3d(1, 1, 3, padding=1).to(loader.device)
trainer = SupervisedTrainer(
    device=torch.device(loader.device),
    max_epochs=3,
    train_data_loader=loader,
    network=network,
    optimizer=torch.optim.AdamW(network.parameters()),
    loss_function=torch.nn.MSELoss(),
)
trainer.run()
