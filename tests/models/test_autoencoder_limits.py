"""What an autoencoder refuses: inputs, calls and configs that cannot work, each with what to do."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from test_autoencoder import DENSE, IMAGE, TINY, build

from hubmodels import AutoencoderConfig, AutoencoderForImageToImage


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.zeros(2, 3, 28, 28), r"\(batch, 1, 28, 28\), got torch.float32 of shape \(2, 3, 28, 28\)"),
        (torch.zeros(1, 28, 28), "use the checkpoint's processor"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), "floating-point"),
        (torch.full((2, 1, 28, 28), -0.5), r"must lie in 0..1, got values from -0.5 to -0.5; .* without do_normalize"),
        (torch.full((2, 1, 28, 28), 255.0), "must lie in 0..1"),
        (torch.full((2, 1, 28, 28), torch.nan), "must be finite"),
        (torch.full((2, 1, 28, 28), torch.inf), "must be finite"),
    ],
)
def test_images_that_cannot_be_encoded_are_refused(values: torch.Tensor, message: str) -> None:
    model = build(hidden_sizes=[4], depths=[0])
    for mode in (model.train(), model.eval()):
        with pytest.raises(ValueError, match=message):
            mode(values)
    with pytest.raises(ValueError, match=message):
        model.encode(values)


def test_calls_that_do_not_fit_the_model_are_refused() -> None:
    image, table = build(**IMAGE, kind="plain"), build(**DENSE)
    images, rows = torch.rand(2, 1, 4, 4), torch.randn(2, 6)
    with pytest.raises(ValueError, match="takes pixel_values and no numeric_features, got numeric_features"):
        image(numeric_features=rows)
    with pytest.raises(ValueError, match="takes numeric_features and no pixel_values, got both"):
        table(pixel_values=images, numeric_features=rows)
    with pytest.raises(ValueError, match="got none"):
        table()
    with pytest.raises(ValueError, match="numeric_features must be finite"):
        table(numeric_features=rows.log())
    with pytest.raises(ValueError, match="target_values must have the input's shape"):
        image(images, target_values=images[:1])
    with pytest.raises(ValueError, match=r"latents must have the shape \(batch, 2\)"):
        image.decode(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="needs an autoencoder of kind variational, this one is plain"):
        image.log_likelihood(images)
    with pytest.raises(ValueError, match="kind vector_quantized, this one is variational"):
        table.encode_codes(numeric_features=rows)
    with pytest.raises(ValueError, match="num_steps must be at least 2"):
        image.interpolate(images, images, 1)
    with pytest.raises(ValueError, match="same shape"):
        image.interpolate(images, images[:1])
    with pytest.raises(ValueError, match=r"codes must be 0 to 7"):
        build(**TINY["vector_quantized"]).decode_codes(torch.full((1, 2, 2), 8))
    with pytest.raises(ValueError, match="image to image needs images"):
        AutoencoderForImageToImage(table.config)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"latent_size": 0}, "latent_size must be at least 1"),
        ({"beta": -1}, "beta must be at least 0"),
        ({"codebook_decay": 1}, "codebook_decay must be at least 0 and below 1"),
        ({"kernel_size": 4}, "odd"),
        ({"image_size": [28, 28, 1]}, "height and width"),
        ({"image_size": 30, "patch_size": 4}, "divide height and width by 8"),
        ({"depths": [1]}, "one number a stage"),
        ({"hidden_act": "rellu"}, "hidden_act must be one of"),
        ({"num_numeric_features": 4}, "needs backbone dense"),
        ({"backbone": "dense", "latent_map": True}, "latent_map needs backbone conv"),
        ({"backbone": "dense", "normalization": "group_norm"}, "dense takes batch_norm or none"),
        ({**DENSE, "likelihood": "bernoulli"}, "a table takes mse or gaussian"),
        ({**DENSE, "output_act": "sigmoid"}, "a table takes linear"),
        ({"likelihood": "bernoulli", "output_act": "sigmoid"}, "its own sigmoid"),
        ({"likelihood": "discretized_logistic", "variance": "optimal"}, "needs likelihood gaussian"),
        ({"num_importance_samples": 2, "free_bits": 0.1}, "free_bits 0"),
        ({"num_latent_codes": 2}, "kind vector_quantized"),
        ({"fsq_levels": [1]}, "each at least 2"),
        ({"kind": "vector_quantized", "quantizer": "fsq", "latent_size": 3}, "one level for each latent number"),
        ({"noise_types": ["gauss"]}, "noise_types must name one or more of gaussian, salt_and_pepper, masking"),
        ({"noise_strength": [0.5, 0.2]}, "the lowest and the highest"),
        ({"noise_strength": [0.5, 2.0], "noise_types": ["masking"]}, "at most 1"),
        ({**DENSE, "kind": "denoising", "noise_types": ["salt_and_pepper"]}, "gaussian or masking"),
    ],
)
def test_a_config_that_cannot_work_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(StrictDataclassError, match=message):
        AutoencoderConfig(**fields)
