import lightning
import torch

import dali_cr


class Restorer(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = torch.nn.Conv3d(1, 1, 3, padding=1)

    def training_step(self, batch, _):
        return (self.network(batch["input"]) - batch["target"]).square().mean()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters())


recipe = dali_cr.Restoration(crop=(16, 16, 16), swap=dali_cr.Swap(iterations=10, patch=(2, 4)))
loader = dali_cr.Loader(dali_cr.scan("data/"), recipe, batch_size=2, device="cpu")  # or "cuda"
lightning.Trainer(max_epochs=3).fit(Restorer(), loader)  # ckpt_path="….ckpt" resumes at the next batch
