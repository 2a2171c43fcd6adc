"""diffusers' training step for its CIFAR-10 network: as its script sets it up, and as one tunes it by hand.

Each function gives (step, batch, forward operations of an image, parameters), for images uint8 on the device.
"""

from collections.abc import Callable
from copy import deepcopy

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from sfumato.training.autoconfig import operations_of
from sfumato.utils.cuda_graphs import captured

Made = tuple[Callable[[], object], int, int, int]


def network() -> UNet2DModel:
    """The network of google/ddpm-cifar10-32, 35.7 M parameters."""
    return UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=(128, 256, 256, 256),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        dropout=0.1,
        act_fn="silu",
        norm_num_groups=32,
        norm_eps=1e-6,
        downsample_padding=0,
        attention_head_dim=None,
        flip_sin_to_cos=False,
        freq_shift=1,
    )


def facts(model: nn.Module) -> tuple[int, int]:
    """Forward operations of an image, and parameters."""
    device = next(model.parameters()).device
    operations = operations_of(model, torch.zeros(1, 3, 32, 32, device=device), torch.zeros(1, device=device))
    return operations, sum(p.numel() for p in model.parameters())


def batch_of(images: Tensor, count: int) -> Tensor:
    """Random images in [-1, 1]."""
    return images[torch.randint(len(images), (count,), device=images.device)].float() / 127.5 - 1


def as_its_script(images: Tensor, batch: int) -> Made:
    """examples/unconditional_image_generation/train_unconditional.py with --mixed_precision bf16 --use_ema.

    Accelerate does no more here than autocast; the script reads the loss at every step.
    """
    model = network().to(images.device).train()
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    average = EMAModel(model.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 500))
    made = facts(model)

    def step() -> float:
        clean = batch_of(images, batch)
        noise = torch.randn(clean.shape, dtype=clean.dtype, device=clean.device)
        timesteps = torch.randint(0, 1000, (batch,), device=clean.device).long()
        noisy = scheduler.add_noise(clean, noise, timesteps)
        with torch.autocast(images.device.type, torch.bfloat16):
            output = model(noisy, timesteps).sample
        loss = F.mse_loss(output.float(), noise.float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
        average.step(model.parameters())
        return float(loss.detach().item())

    return step, batch, *made


class Tuned:
    """bfloat16, channels last, `torch.compile`, a fused optimizer, foreach averaging, nothing read from the device."""

    def __init__(self, images: Tensor, batch: int, flip: bool = False) -> None:
        self.images, self.batch, self.flip = images, batch, flip
        self.model = network().to(images.device, memory_format=torch.channels_last).train()
        self.facts = facts(self.model)
        self.average = deepcopy(self.model).eval().requires_grad_(False)
        self.compiled = torch.compile(self.model)
        rate = torch.tensor(2e-4, device=images.device)
        is_cuda = images.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=rate, weight_decay=0.0, fused=True, capturable=is_cuda
        )
        betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
        alphas = torch.cumprod(1 - betas, 0).to(images.device)
        self.signal, self.noise = alphas.sqrt().float(), (1 - alphas).sqrt().float()
        self.decay = 0.999

    def step(self) -> Tensor:
        """One step; the loss stays on the device."""
        for parameter in self.model.parameters():
            parameter.grad = None
        clean = batch_of(self.images, self.batch).contiguous(memory_format=torch.channels_last)
        if self.flip:
            mirrored = torch.rand(self.batch, 1, 1, 1, device=clean.device) < 0.5
            clean = torch.where(mirrored, clean.flip(3), clean)
        noise = torch.randn_like(clean)
        timesteps = torch.randint(0, 1000, (self.batch,), device=clean.device)
        signal, level = (x[timesteps].view(-1, 1, 1, 1) for x in (self.signal, self.noise))
        with torch.autocast(clean.device.type, torch.bfloat16, cache_enabled=False):
            output = self.compiled(signal * clean + level * noise, timesteps, return_dict=False)[0]
        loss = F.mse_loss(output.float(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - self.decay)
        return loss.detach()


def tuned(images: Tensor, batch: int) -> Made:
    """`Tuned`, launched by the host."""
    peer = Tuned(images, batch)
    peer.step()
    return peer.step, batch, *peer.facts


def tuned_captured(images: Tensor, batch: int) -> Made:
    """`Tuned` as one CUDA graph: what is left are its kernels."""
    peer = Tuned(images, batch)
    peer.step()
    return captured(peer.step, images.device), batch, *peer.facts
