"""Diffusion models from and to diffusers, whose own UNet2DModel and pipelines are the reference."""

from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, UNet2DModel

from hubmodels import DiffusionConfig, DiffusionModel
from hubmodels.models.diffusion.conversion_diffusion import convert_unet2d, to_diffusers, to_unet2d

FIELDS = {"hidden_sizes": [8, 16], "depth": 1, "num_norm_groups": 4, "attention_head_size": 4, "image_size": 8}


def build(**fields) -> DiffusionModel:
    torch.manual_seed(0)
    model = DiffusionModel(DiffusionConfig(**{**FIELDS, **fields})).eval()
    return stir(model)


def stir(model: torch.nn.Module) -> torch.nn.Module:
    """Give every weight, norms and what starts small included, a number of its own."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn(weight.shape))
    return model


def their_unet(**fields) -> UNet2DModel:
    torch.manual_seed(1)
    given = {
        "sample_size": 8, "in_channels": 3, "out_channels": 3, "block_out_channels": (8, 16, 16),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"), "layers_per_block": 2,
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), "norm_num_groups": 4, "attention_head_dim": 4,
    } | fields  # fmt: skip
    return stir(UNet2DModel(**given).eval())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"num_class_embeds": 5},
        {"resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 4},
        {"add_attention": False},
        {"attention_head_dim": None},
    ],
)
@torch.no_grad()
def test_a_unet_of_diffusers_gives_the_same_here_and_back(fields: dict) -> None:
    theirs = their_unet(**fields)
    if fields.get("attention_head_dim", 4) is None:  # one head a layer, whatever its width
        theirs = their_unet(attention_head_dim=None, block_out_channels=(16, 16, 16))
    ours = convert_unet2d(theirs)
    x, times = torch.randn(3, 3, 8, 8), torch.tensor([0, 17, 999])
    labels = torch.tensor([0, 4, 2]) if "num_class_embeds" in fields else None
    expected = theirs(x, times, class_labels=labels).sample
    torch.testing.assert_close(ours.network(x, times, labels)[0], expected, rtol=1e-5, atol=1e-5)
    back = to_unet2d(ours)
    torch.testing.assert_close(back(x, times, class_labels=labels).sample, expected, rtol=0, atol=1e-5)
    for name, value in back.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name]), name


@torch.no_grad()
def test_our_unet_of_patches_gives_the_same_in_diffusers() -> None:
    ours = build(class_conditional=True, num_labels=3, attention_stages=[1], num_channels=2)
    theirs = to_unet2d(ours)
    x, times, labels = torch.randn(4, 2, 8, 8), torch.rand(4) * 1000, torch.tensor([0, 1, 2, -1])
    patches = torch.nn.functional.pixel_unshuffle(x, 2)
    expected = theirs(patches, times, class_labels=labels % 4).sample
    ours_output = ours.network(x, times, labels)[0]
    torch.testing.assert_close(torch.nn.functional.pixel_unshuffle(ours_output, 2), expected, rtol=1e-5, atol=1e-5)
    assert sum(p.numel() for p in theirs.parameters()) == ours.num_parameters()


def test_the_scheduler_of_a_unet_decides_about_objective_and_chain() -> None:
    scheduler = DDPMScheduler(50, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    model = convert_unet2d(their_unet(), scheduler=scheduler)
    assert (model.config.objective, model.config.beta_schedule) == ("v_prediction", "squaredcos_cap_v2")
    assert model.config.num_train_timesteps == 50
    assert model.scheduler is scheduler


@pytest.mark.parametrize(
    ("fields", "scheduler"),
    [
        ({"class_conditional": True, "num_labels": 3}, "FlowMatchEulerDiscreteScheduler"),
        ({"objective": "epsilon", "patch_size": 1}, "DDIMScheduler"),
        ({"objective": "v_prediction", "time_scale_shift": False}, "DPMSolverMultistepScheduler"),
        ({"objective": "edm", "class_conditional": True, "num_labels": 3}, "EDMEulerScheduler"),
    ],
)
def test_the_pipeline_folder_samples_in_diffusers_as_the_model_does(
    fields: dict, scheduler: str, tmp_path: Path
) -> None:
    model = build(**fields)
    model.scheduler = scheduler
    folder = to_diffusers(model, tmp_path / "pipeline")
    assert {path.name for path in folder.iterdir()} == {"unet", "scheduler", "model_index.json", "pipeline.py"}
    pipeline = DiffusionPipeline.from_pretrained(folder, custom_pipeline=str(folder), trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    assert type(pipeline.scheduler).__name__ == scheduler
    labels = [2, 0, 1] if model.config.class_conditional else None
    scale = 1.5 if labels else 1.0
    # The noise that the model draws: a generator for each sample, from the seeds that its own generator gives.
    seeds = torch.randint(2**62, (3,), generator=torch.Generator().manual_seed(4))
    noise = torch.stack([torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds])
    theirs = pipeline(
        3, class_labels=labels, guidance_scale=scale, num_inference_steps=5, latents=noise, output_type="pt"
    ).images
    ours = model.sample(
        3, labels=labels, guidance_scale=scale, num_inference_steps=5, generator=torch.Generator().manual_seed(4)
    )
    # Five steps from one parametrisation to the other and back, in float32.
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_a_scheduler_of_another_process_is_replaced_in_the_pipeline(tmp_path: Path) -> None:
    model = build()
    model.scheduler = "DDPMScheduler"
    folder = to_diffusers(model, tmp_path / "pipeline")
    assert '"use_flow_sigmas": true' in (folder / "scheduler" / "scheduler_config.json").read_text()


def test_what_cannot_be_converted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a UNet2DModel of diffusers, got Linear"):
        convert_unet2d(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="flip_sin_to_cos True can be converted, got False"):
        convert_unet2d(their_unet(flip_sin_to_cos=False))
    with pytest.raises(ValueError, match="mirrored order"):
        convert_unet2d(their_unet(up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D")))
    with pytest.raises(ValueError, match="no sample_size: give image_size"):
        convert_unet2d(their_unet(sample_size=None))
    with pytest.raises(ValueError, match=r"has no|its layout is not ours"):
        convert_unet2d(their_unet(resnet_time_scale_shift="scale_shift"))  # without a norm before the attention
    with pytest.raises(ValueError, match="needs backbone unet"):
        to_unet2d(build(backbone="dit"))
    with pytest.raises(ValueError, match="of waveforms"):
        to_unet2d(build(data="audio", num_frames=16))
    with pytest.raises(ValueError, match="pipelines of images"):
        to_diffusers(build(data="audio", num_frames=16), tmp_path / "audio")
    with pytest.raises(ValueError, match="is there already"):
        to_diffusers(build(), tmp_path)
    assert list(tmp_path.iterdir()) == []
