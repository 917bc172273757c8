"""The pipeline that `to_diffusers` writes beside a U-Net: it samples in plain diffusers, without hubmodels.

pipeline = DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)
images = pipeline(batch_size=4, class_labels=[0, 1, 2, 3], num_inference_steps=20).images
"""

import inspect

import numpy as np
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor


class HubmodelsDiffusionPipeline(DiffusionPipeline):
    """Samples of a U-Net whose places are patches of pixels, with classes and guidance.

    Args:
        unet: a UNet2DModel; its last class, if it has any, is none.
        scheduler: of the process that the U-Net learnt.
        patch_size: pixels a side that are the channels of one place.
        data_mean, data_std: values are samples * data_std + data_mean, in 0..1.
    """

    def __init__(self, unet, scheduler, patch_size: int = 1, data_mean: float = 0.5, data_std: float = 0.5):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(patch_size=patch_size, data_mean=data_mean, data_std=data_std)

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        class_labels: list[int] | None = None,
        guidance_scale: float = 1.0,
        num_inference_steps: int = 20,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ):
        """Draw images from noise, `latents` (N, C, H, W) or what the generator draws, with the same guidance in every
        step.

        Returns:
            PIL's images (`output_type="pil"`), an array (N, H, W, C) of 0..1 ("np"), or a tensor (N, C, H, W) of 0..1
            ("pt").
        """
        unet, scheduler, patch = self.unet, self.scheduler, self.config.patch_size
        classes = unet.config.num_class_embeds
        labels = None
        if classes:
            none = [classes - 1] * batch_size
            labels = torch.as_tensor(none if class_labels is None else class_labels, device=self._execution_device)
        height, width = unet.config.sample_size
        shape = (batch_size, unet.config.in_channels // patch**2, height * patch, width * patch)
        if latents is None:
            latents = randn_tensor(shape, generator=generator, device=self._execution_device, dtype=unet.dtype)
        x = torch.nn.functional.pixel_unshuffle(latents, patch) * float(getattr(scheduler, "init_noise_sigma", 1.0))
        if "sigmas" in inspect.signature(scheduler.set_timesteps).parameters and hasattr(scheduler, "scale_noise"):
            sigmas = [1 - step / num_inference_steps for step in range(num_inference_steps)]
            scheduler.set_timesteps(sigmas=sigmas, device=x.device)
        else:
            scheduler.set_timesteps(num_inference_steps, device=x.device)
        options = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
        for timestep in self.progress_bar(scheduler.timesteps):
            scaled = scheduler.scale_model_input(x, timestep) if hasattr(scheduler, "scale_model_input") else x
            output = unet(scaled, timestep, class_labels=labels).sample
            if guidance_scale != 1 and labels is not None:
                without = unet(scaled, timestep, class_labels=torch.full_like(labels, classes - 1)).sample
                output = torch.lerp(without, output, guidance_scale)
            x = scheduler.step(output, timestep, x, return_dict=False, **options)[0]
        images = torch.nn.functional.pixel_shuffle(x, patch) * self.config.data_std + self.config.data_mean
        images = images.clamp(0, 1)
        if output_type != "pt":
            images = images.permute(0, 2, 3, 1).float().cpu().numpy()
        if output_type == "pil":
            images = self.numpy_to_pil(images if images.shape[-1] == 3 else np.ascontiguousarray(images))
        return ImagePipelineOutput(images=images) if return_dict else (images,)
