"""The autoencoder against sums by hand, torch.distributions, scikit-learn and models whose likelihood is known."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture as SklearnMixture
from torch.distributions import (
    Bernoulli,
    Categorical,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from hubmodels import AutoencoderConfig, AutoencoderForImageToImage, AutoencoderModel
from hubmodels.models.autoencoder.modeling_autoencoder_latents import MIXTURE_RANK, EmaCodebook, GaussianMixture

# What test_all_families.py runs over this family.
SMALL = {"num_channels": 2, "image_size": 8, "hidden_sizes": [4, 6], "depths": [1, 1], "latent_size": 3}
TINY = {
    "variational": {**SMALL, "num_mixture_components": 2, "likelihood": "gaussian", "variance": "per_value"},
    "importance_weighted": {
        "kind": "variational", "backbone": "dense", "num_numeric_features": 5, "hidden_sizes": [8], "latent_size": 2,
        "normalization": "none", "num_importance_samples": 3, "likelihood": "gaussian", "kl_warmup_steps": 10,
    },
    "vector_quantized": {**SMALL, "kind": "vector_quantized", "latent_map": True, "codebook_size": 8,
                         "num_mixture_components": 2, "normalization": "group_norm",
                         "likelihood": "discretized_logistic"},
    "denoising": {**SMALL, "hidden_sizes": [12], "depths": [1], "latent_size": 12, "kind": "denoising",
                  "latent_map": True, "normalization": "none", "noise_strength": [0.0, 0.1],
                  "noise_types": ["gaussian", "masking"]},
}  # fmt: skip
HEADS = {"denoising": ["Model", "ForImageToImage"]} | {
    name: ["Model"] for name in ("variational", "importance_weighted", "vector_quantized")
}


def tiny_inputs(config: AutoencoderConfig, head: str, rows: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Inputs of `forward`, with targets where the head has them."""
    name = "numeric_features" if config.num_numeric_features else "pixel_values"
    inputs = {name: torch.rand(rows, *config.row_shape, generator=generator)}
    if head == "ForImageToImage":
        inputs["labels"] = 1 - inputs[name]
    return inputs


def build(seed: int = 0, **fields) -> AutoencoderModel:
    torch.manual_seed(seed)
    return AutoencoderModel(AutoencoderConfig(**fields)).eval()


DENSE = {"backbone": "dense", "num_numeric_features": 6, "hidden_sizes": [8], "latent_size": 2, "normalization": "none"}
IMAGE = {"image_size": 4, "hidden_sizes": [4], "depths": [1], "latent_size": 2, "normalization": "none"}


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to 1e-6 of the value; the reference is computed in float64."""
    torch.testing.assert_close(actual.double(), expected.double(), rtol=1e-6, atol=1e-6)


# Loss terms


def test_the_kl_divergence_is_that_of_torch_distributions() -> None:
    model, values = build(**DENSE, beta=0.5), torch.randn(7, 6)
    mean, log_variance = model.encoder(values)[0].double().chunk(2, dim=1)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1)
    outputs = model(numeric_features=values)
    close(outputs.row_kl, expected)
    close(outputs.kl, expected.mean())
    close(outputs.loss, (outputs.row_reconstruction_loss + 0.5 * expected).mean() / 6)


@pytest.mark.parametrize("variance", ["shared", "per_value"])
def test_the_gaussian_likelihood_is_that_of_torch_distributions(variance: str) -> None:
    likelihood = build(**IMAGE, likelihood="gaussian", variance=variance).likelihood
    torch.nn.init.normal_(likelihood.log_scale)
    outputs, values = torch.randn(5, 1, 4, 4), torch.rand(5, 1, 4, 4)
    lowest = -5.5  # of the scale's logarithm, approached softly
    scale = (lowest + F.softplus(likelihood.log_scale.double() - lowest)).exp()
    scale = scale.view(1, 4, 4) if variance == "per_value" else scale
    expected = -Normal(outputs.double(), scale).log_prob(values.double()).flatten(1).sum(1)
    close(likelihood(outputs, values), expected)


def test_the_bernoulli_likelihood_is_that_of_torch_distributions() -> None:
    likelihood = build(**IMAGE, likelihood="bernoulli").likelihood
    outputs, values = torch.randn(5, 1, 4, 4), torch.rand(5, 1, 4, 4).round()
    expected = -Bernoulli(logits=outputs.double()).log_prob(values.double()).flatten(1).sum(1)
    close(likelihood(outputs, values), expected)
    close(likelihood.mean(outputs), outputs.double().sigmoid())


def test_a_squared_error_is_a_gaussian_of_variance_one_half_without_its_constant() -> None:
    model = build(**IMAGE)
    outputs, values = torch.randn(5, 1, 4, 4), torch.rand(5, 1, 4, 4)
    expected = -Normal(outputs.double(), 0.5**0.5).log_prob(values.double()).flatten(1).sum(1)
    close(model.likelihood(outputs, values) + model.likelihood.constant(), expected)


def test_the_discretized_logistic_likelihood_is_a_difference_of_distribution_functions() -> None:
    likelihood = build(**IMAGE, likelihood="discretized_logistic", num_levels=16).likelihood
    likelihood.log_scale.data.fill_(-3.0)
    outputs = torch.rand(50, 1, 4, 4) * 1.4 - 0.2
    values = torch.randint(16, (50, 1, 4, 4)) / 15
    scale = likelihood.scale().double()

    def distribution_function(edges: torch.Tensor) -> torch.Tensor:
        return ((edges - outputs.double()) / scale).sigmoid()

    above = torch.where(values == 1, 1.0, distribution_function(values.double() + 1 / 30))
    below = torch.where(values == 0, 0.0, distribution_function(values.double() - 1 / 30))
    expected = -(above - below).log().flatten(1).sum(1)
    # A sum of 16 terms of up to 30 nats: float32 rounds each to 2e-6.
    torch.testing.assert_close(likelihood(outputs, values).double(), expected, rtol=1e-6, atol=1e-5)
    levels = torch.arange(16).view(16, 1, 1, 1).expand(16, 1, 4, 4) / 15
    shares = [(-likelihood.discretized_logistic(outputs[:1], level[None])).exp() for level in levels]
    torch.testing.assert_close(torch.stack(shares).sum(0), torch.ones(1, 1, 4, 4))


def test_a_discretized_logistic_far_from_its_values_stays_finite_and_has_a_gradient() -> None:
    likelihood = build(**IMAGE, likelihood="discretized_logistic").likelihood
    outputs = torch.full((1, 1, 4, 4), 40.0, requires_grad=True)
    loss = likelihood(outputs, torch.full((1, 1, 4, 4), 0.5))
    loss.sum().backward()
    # Each tail falls by 1 / scale nats a unit.
    torch.testing.assert_close(outputs.grad, (1 / likelihood.scale()).expand_as(outputs))


def test_the_optimal_variance_is_the_mean_squared_error_and_evaluation_takes_its_moving_average() -> None:
    likelihood = build(**DENSE, likelihood="gaussian", variance="optimal").likelihood.train()
    errors = []
    for _ in range(3):
        outputs, values = torch.randn(5, 6), torch.randn(5, 6)
        errors.append((outputs - values).double().square().mean())
        expected = -Normal(outputs.double(), errors[-1].sqrt()).log_prob(values.double()).sum(1)
        close(likelihood(outputs, values), expected)
    scale = torch.stack(errors).mean().sqrt()  # the first hundred steps count alike
    close(likelihood.eval()(outputs, values), -Normal(outputs.double(), scale).log_prob(values.double()).sum(1))


def test_the_loss_of_a_plain_autoencoder_is_the_mean_squared_error() -> None:
    model, values = build(**IMAGE, kind="plain"), torch.rand(3, 1, 4, 4)
    outputs = model(values)
    unclamped = model.decoder(outputs.latents)[0]
    close(outputs.loss, (unclamped - values).double().square().mean())
    assert torch.equal(outputs.reconstruction, unclamped.clamp(0, 1))
    assert outputs.kl is None
    assert outputs.codes is None


def test_free_bits_cost_nothing_until_a_number_uses_them_up() -> None:
    values = torch.randn(7, 6)
    free, full = build(**DENSE, free_bits=0.07), build(**DENSE)
    mean, log_variance = full.encoder(values)[0].double().chunk(2, dim=1)
    terms = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).mean(0)
    assert terms.min() < 0.07 < terms.max()
    outputs = free(numeric_features=values)
    close(outputs.loss, (outputs.reconstruction_loss + terms.clamp(min=0.07).sum()) / 6)
    close(outputs.kl, terms.sum())


def test_the_kl_weight_rises_over_the_first_training_forwards_and_its_count_is_stored(tmp_path: Path) -> None:
    model, values = build(**DENSE, beta=2.0, kl_warmup_steps=4).train(), torch.randn(3, 6)
    for share in (0.25, 0.5):
        outputs = model(numeric_features=values)
        close(outputs.loss, (outputs.reconstruction_loss + 2.0 * share * outputs.kl) / 6)
    model.save_pretrained(tmp_path)
    model = AutoencoderModel.from_pretrained(tmp_path)
    outputs = model.eval()(numeric_features=values)
    close(outputs.loss, (outputs.reconstruction_loss + 2.0 * outputs.kl) / 6)
    for share in (0.75, 1.0, 1.0):
        outputs = model.train()(numeric_features=values)
        close(outputs.loss, (outputs.reconstruction_loss + 2.0 * share * outputs.kl) / 6)


def test_class_labels_change_nothing() -> None:
    model, values = build(**IMAGE), torch.rand(3, 1, 4, 4)
    ours, theirs = model(values), model(values, labels=torch.tensor([1, 2, 3]))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


# The likelihood of a variational autoencoder


def test_the_importance_weighted_bound_is_the_one_of_torch_distributions() -> None:
    model = build(**DENSE, likelihood="gaussian", num_importance_samples=4)
    values, noise = torch.randn(5, 6), torch.randn(5, 4, 2)
    mean, log_variance = model.encoder(values)[0].chunk(2, dim=1)
    posterior = Normal(mean[:, None].double(), (log_variance[:, None].double() / 2).exp())
    drawn = posterior.mean + posterior.stddev * noise
    decoded = model.decoder(drawn.float().flatten(0, 1))[0].view(5, 4, 6).double()
    log_weights = Normal(decoded, model.likelihood.scale().double()).log_prob(values[:, None].double()).sum(2)
    log_weights = log_weights + (Normal(0.0, 1.0).log_prob(drawn) - posterior.log_prob(drawn)).sum(2)
    expected = -(log_weights.logsumexp(1) - math.log(4)).mean() / 6
    close(model(numeric_features=values, noise=noise).loss, expected)


def test_the_importance_weighted_bound_is_above_the_elbo_and_rises_with_the_samples() -> None:
    model, values = build(**DENSE, likelihood="gaussian"), torch.randn(200, 6)
    # The same 200 x 64 draws in each, in groups of 1, 4, 16 and 64: the standard error of a difference is below 0.01.
    noise = torch.randn(200, 64, 2)
    bounds = []
    for K in (1, 4, 16, 64):
        groups = noise.view(200 * 64 // K, K, 2)
        outputs = model(numeric_features=values.repeat_interleave(64 // K, dim=0), noise=groups)
        bounds.append(-outputs.loss.item() * 6)
    elbo = model.elbo(values, 64, torch.Generator().manual_seed(0)).mean().item()
    assert abs(bounds[0] - elbo) < 0.05  # the same in expectation
    assert bounds[0] + 0.05 < bounds[1]
    assert bounds[1] < bounds[2] < bounds[3]


def linear_gaussian(exact: bool) -> tuple[AutoencoderModel, torch.Tensor, torch.Tensor]:
    """A variational autoencoder of linear layers (probabilistic PCA, Tipping and Bishop 1999), rows, and log p of each
    row, which is Gaussian: N(b, W W^T + s^2). With orthogonal columns of W the posterior is one that the encoder can
    have: mean M^-1 W^T (x - b), covariance s^2 M^-1, M = W^T W + s^2."""
    model = build(**{**DENSE, "hidden_sizes": []}, likelihood="gaussian")
    encoder, decoder = model.encoder.layers[0], model.decoder.layers[0]
    columns = torch.linalg.qr(torch.randn(6, 2))[0] * torch.tensor([2.0, 0.7])
    decoder.weight.data.copy_(columns)
    scale = model.likelihood.scale().item()
    m = columns.square().sum(0) + scale**2
    encoder.weight.data[:2] = columns.T / m[:, None]
    encoder.bias.data[:2] = -columns.T / m[:, None] @ decoder.bias
    encoder.weight.data[2:] = 0
    encoder.bias.data[2:] = (scale**2 / m).log() + (0.0 if exact else 1.0)
    covariance = columns @ columns.T + scale**2 * torch.eye(6)
    marginal = MultivariateNormal(decoder.bias.detach(), covariance)
    values = marginal.sample((40,))
    return model, values, marginal.log_prob(values)


def test_with_the_true_posterior_one_sample_gives_the_exact_likelihood() -> None:
    model, values, expected = linear_gaussian(exact=True)
    # Every importance weight is p(x); float32 rounds sums of ten terms of a few nats.
    torch.testing.assert_close(model.log_likelihood(values), expected, rtol=1e-5, atol=1e-4)


def test_with_another_posterior_many_samples_come_near_the_exact_likelihood_and_the_elbo_stays_below() -> None:
    model, values, expected = linear_gaussian(exact=False)
    generator = torch.Generator().manual_seed(0)
    found = model.log_likelihood(values, 4000, generator, samples_per_pass=1000)
    # The weights' relative spread is about 0.7: 4000 samples leave 0.011, and five times that is no chance.
    torch.testing.assert_close(found, expected, rtol=0, atol=0.06)
    # log variance one too large: KL(q || p) is (e - 2) / 2 for each of the two numbers.
    gap = (expected - model.elbo(values, 4000, generator)).mean().item()
    assert gap == pytest.approx(math.e - 2, abs=0.03)


def test_the_anomaly_score_of_a_strange_row_is_higher() -> None:
    model, values, _ = linear_gaussian(exact=True)
    scores = model.anomaly_score(torch.cat([values, values[:4] + 5]))
    assert scores[:40].max() < scores[40:].min()
    plain = build(**IMAGE, kind="plain")
    images = torch.rand(3, 1, 4, 4)
    close(plain.anomaly_score(images), (plain.decode(plain.encode(images)) - images).square().mean((1, 2, 3)))


# Codes


def test_a_linear_autoencoder_reaches_the_error_of_pca() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(300, 10, generator=generator) * torch.linspace(3, 0.3, 10) + 1
    values = values @ torch.linalg.qr(torch.randn(10, 10, generator=generator))[0]
    model = build(kind="plain", backbone="dense", num_numeric_features=10, hidden_sizes=[], latent_size=3).train()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(numeric_features=values).loss
        loss.backward()
        return loss

    optimizer.step(step)
    pca = PCA(3).fit(values.numpy())
    expected = ((pca.inverse_transform(pca.transform(values.numpy())) - values.numpy()) ** 2).mean()
    assert model.eval()(numeric_features=values).loss.item() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("tiny", list(TINY))
def test_what_was_encoded_is_decoded_as_forward_does_and_alike_each_time(tiny: str) -> None:
    model = build(**TINY[tiny])
    inputs = tiny_inputs(model.config, "Model", 4, torch.Generator().manual_seed(0))
    outputs = model(**inputs)
    model.train()
    latents = model.encode(**inputs)
    assert latents.shape == (4, *model.config.latent_shape)
    assert torch.equal(latents, outputs.latents)
    assert torch.equal(latents.flatten(1), outputs.pooler_output)
    assert torch.equal(model.decode(latents), outputs.reconstruction)
    assert torch.equal(model.encode(**inputs), latents)
    assert all(module.training for module in model.modules())  # as it was before


def test_finite_scalar_quantization_follows_the_paper() -> None:
    """The listing of arXiv:2309.15505, appendix A, in NumPy."""
    levels = np.array([8, 5, 5, 4])
    quantizer = build(
        **IMAGE | {"latent_size": 4}, kind="vector_quantized", quantizer="fsq", fsq_levels=levels.tolist()
    )
    quantizer = quantizer.quantizer
    values = torch.randn(200, 4) * 2
    half_l = (levels - 1) * (1 + 1e-3) / 2
    offset = np.where(levels % 2 == 1, 0.0, 0.5)
    shift = np.arctanh(offset / half_l)  # the listing has tan; arctanh is the authors' correction
    rounded = np.round(np.tanh(values.double().numpy() + shift) * half_l - offset)
    half_width = levels // 2
    basis = np.concatenate(([1], np.cumprod(levels[:-1])))
    codes = (rounded + half_width) @ basis
    vectors, found, loss = quantizer(values[..., None])
    np.testing.assert_allclose(vectors[..., 0].numpy(), rounded / half_width, rtol=0, atol=1e-6)
    assert found[:, 0].tolist() == codes.tolist()
    assert loss is None
    every = torch.arange(800)
    assert len(quantizer.lookup(every).unique(dim=0)) == 800
    torch.testing.assert_close(quantizer.lookup(found), vectors, rtol=0, atol=1e-6)
    # The gradient is that of the bounded numbers.
    point = torch.zeros(1, 4, 1, requires_grad=True)
    quantizer(point)[0].sum().backward()
    slope = (1 - np.tanh(shift) ** 2) * half_l / half_width
    np.testing.assert_allclose(point.grad[0, :, 0].numpy(), slope, rtol=1e-5)


def codebook(size: int, width: int, **fields) -> EmaCodebook:
    torch.manual_seed(0)
    config = AutoencoderConfig(**IMAGE | {"latent_size": width}, kind="vector_quantized", codebook_size=size, **fields)
    return AutoencoderModel(config).quantizer.train()


def test_the_codebook_is_a_moving_average_of_what_it_stands_for() -> None:
    quantizer = codebook(3, 2, codebook_decay=0.8, restart_threshold=0)
    quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 50.0]]))
    latents = torch.tensor([[1.0, 1.0], [2.0, -1.0], [9.0, 1.0], [0.0, 1.0]])
    vectors, codes, commitment = quantizer(latents[..., None])
    assert codes[:, 0].tolist() == [0, 0, 1, 0]
    assert torch.equal(vectors[:, :, 0], torch.tensor([[0.0, 0.0], [0.0, 0.0], [10.0, 0.0], [0.0, 0.0]]))
    close(commitment, torch.tensor((2 + 5 + 2 + 1) / 8))
    close(quantizer.codebook, torch.tensor([[1.0, 1 / 3], [9.0, 1.0], [0.0, 50.0]]))
    quantizer(torch.tensor([[[2.0], [1.0]]]))  # one row, nearest to the first vector
    uses, sums = 0.8 * 0.2 * 3 + 0.2, 0.8 * 0.2 * torch.tensor([3.0, 1.0]) + 0.2 * torch.tensor([2.0, 1.0])
    close(quantizer.uses[0], torch.tensor(uses))
    close(quantizer.codebook[0], sums / uses)
    close(quantizer.codebook[1], torch.tensor([9.0, 1.0]))
    before = quantizer.codebook.clone()
    quantizer.eval()(latents[..., None])
    assert torch.equal(quantizer.codebook, before)


def test_the_gradient_goes_straight_through_the_codebook() -> None:
    latents = torch.randn(4, 2, 3, requires_grad=True)
    vectors, _, _ = codebook(5, 2)(latents)
    weights = torch.randn(4, 2, 3)
    (vectors * weights).sum().backward()
    torch.testing.assert_close(latents.grad, weights)


def test_a_vector_that_is_hardly_used_starts_anew_at_a_code_of_the_batch() -> None:
    quantizer = codebook(4, 2, restart_threshold=0.5)
    quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 50.0], [99.0, 99.0]]))
    quantizer.uses.copy_(torch.tensor([6.0, 6.0, 2.6, 2.4]))  # half of the mean use of 20 rows is 2.5
    quantizer.sums.copy_(quantizer.codebook * quantizer.uses[:, None])
    latents = torch.cat([torch.randn(10, 2), torch.randn(5, 2) + torch.tensor([10.0, 0.0]), torch.full((5, 2), 50.0)])
    codes = quantizer(latents[..., None])[1][:, 0]
    dead = quantizer.uses == 5
    assert dead.tolist() == [False, False, False, True]
    assert (latents == quantizer.codebook[3]).all(1).any()
    assert codes.tolist()[:15] == [0] * 10 + [1] * 5
    used = codebook(64, 2, restart_threshold=0.1)
    used(torch.randn(2000, 2, 1))
    assert len(used.eval()(torch.randn(2000, 2, 1))[1].unique()) > 50  # of 64, after one step from random vectors


def average_alone(rank: int, folder: str) -> None:
    """One of two processes: a step of the codebook on half of the rows."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.manual_seed(rank)  # they draw other restarts
    quantizer = codebook(6, 2, restart_threshold=0.2)
    torch.manual_seed(100 + rank)
    rows = torch.load(f"{folder}/rows.pt", weights_only=True)
    for step in rows:
        quantizer(step[rank::2])
    torch.save(quantizer.state_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_keep_one_codebook(tmp_path: Path) -> None:
    rows = torch.randn(3, 40, 2, 1)
    torch.save(rows, tmp_path / "rows.pt")
    torch.multiprocessing.start_processes(average_alone, (str(tmp_path),), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    # Of the uses all rows count: 40 of them, moved by 1 - 0.99, and restarted ones with the mean use.
    alone = codebook(6, 2, restart_threshold=0)
    alone(rows[0])
    assert alone.uses.sum().item() == pytest.approx(0.4)
    assert first["uses"].sum().item() > 2


# Noise


@pytest.mark.parametrize("name", ["gaussian", "salt_and_pepper", "masking"])
def test_each_kind_of_noise_does_what_its_name_says(name: str) -> None:
    model = build(num_channels=3, image_size=64, kind="denoising")
    values = torch.full((40, 3, 64, 64), 0.5)
    noisy = model.add_noise(values, torch.Generator().manual_seed(0), [name], (0.1, 0.3))
    assert torch.equal(noisy, model.add_noise(values, torch.Generator().manual_seed(0), [name], (0.1, 0.3)))
    if name == "gaussian":
        strength = (noisy - values)[:, :, :, :].flatten(1).std(1)
        # 12,288 values a row give the standard deviation to 1 %; at 0.3 the clamping takes 10 % of it.
        assert 0.099 < strength.min() < 0.13
        assert 0.24 < strength.max() < 0.3
    else:
        assert torch.equal(noisy[:, 0], noisy[:, 1])  # a pixel in all of its channels
        allowed = {0.0, 0.5} | ({1.0} if name == "salt_and_pepper" else set())
        assert set(noisy.unique().tolist()) == allowed
        share = (noisy[:, 0] != 0.5).float().mean((1, 2))
        assert 0.08 < share.min() < 0.14
        assert 0.26 < share.max() < 0.33
        if name == "salt_and_pepper":
            assert ((noisy == 1).sum() / (noisy != 0.5).sum()).item() == pytest.approx(0.5, abs=0.02)


def test_a_row_draws_its_kind_of_noise_among_several() -> None:
    model = build(
        image_size=16, kind="denoising", noise_types=["salt_and_pepper", "masking"], noise_strength=[0.5, 0.5]
    )
    noisy = model.add_noise(torch.full((400, 1, 16, 16), 0.5), torch.Generator().manual_seed(0))
    peppered = (noisy == 1).flatten(1).any(1)
    assert peppered.float().mean().item() == pytest.approx(0.5, abs=0.1)  # four standard errors
    assert (noisy == 0).flatten(1).any(1).all()


def test_a_denoising_autoencoder_sees_noise_in_training_and_learns_the_clean_values() -> None:
    model = build(**IMAGE | {"noise_strength": [0.3, 0.3]}, kind="denoising")
    values = torch.rand(5, 1, 4, 4)
    assert model(values).loss is None  # in evaluation the input is the noisy image
    torch.manual_seed(3)
    drawn = model.train()(values)
    torch.manual_seed(3)
    noisy = model.add_noise(values)
    given = model(noisy, target_values=values)
    assert not torch.equal(noisy, values)
    assert torch.equal(drawn.loss, given.loss)
    passed = model(values, noise=noisy - values)
    torch.testing.assert_close(passed.loss, given.loss)
    images = AutoencoderForImageToImage(model.config)
    images.autoencoder.load_state_dict(model.state_dict())
    outputs = images.eval()(noisy, labels=values)
    assert torch.equal(outputs.loss, model.eval()(noisy, target_values=values).loss)
    assert torch.equal(outputs.reconstruction, model(noisy).reconstruction)


# Sampling


@pytest.mark.parametrize("tiny", ["variational", "vector_quantized", "importance_weighted"])
@pytest.mark.parametrize("prior", ["normal", "fitted"])
def test_samples_come_from_the_generator_whatever_the_batch_size(tiny: str, prior: str) -> None:
    if tiny == "vector_quantized":
        prior = "fitted"
    elif tiny == "importance_weighted":
        prior = "normal"
    model = build(**TINY[tiny]).train()
    inputs = tiny_inputs(model.config, "Model", 12, torch.Generator().manual_seed(0))
    model.fit_after_training({name: value[i : i + 5] for name, value in inputs.items()} for i in (0, 5, 10))
    together = model.sample(7, torch.Generator().manual_seed(1), prior=prior)
    assert together.shape == (7, *model.config.row_shape)
    assert model.config.num_numeric_features or (together.min() >= 0 and together.max() <= 1)
    for batch_size in (1, 3):
        # Convolutions add in another order in other batches.
        found = model.sample(7, torch.Generator().manual_seed(1), batch_size, prior)
        torch.testing.assert_close(found, together, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(model.sample(7, torch.Generator().manual_seed(2), prior=prior), together)


def test_what_has_no_prior_says_what_to_do() -> None:
    model = build(**IMAGE, kind="plain")
    with pytest.raises(ValueError, match="no normal prior: its kind is plain; train it with num_mixture_components"):
        model.sample(2)
    with pytest.raises(ValueError, match="no fitted prior; train it with num_mixture_components above 0, or call"):
        build(**IMAGE).sample(2, prior="fitted")
    with pytest.raises(ValueError, match="prior must be normal or fitted, got 'gmm'"):
        model.sample(2, prior="gmm")
    with pytest.raises(ValueError, match="at least 1"):
        model.sample(0)
    assert not model.has_fitted_prior


def clusters(rows: int) -> torch.Tensor:
    """Four clouds of different shape in three dimensions."""
    generator = torch.Generator().manual_seed(0)
    shapes = torch.randn(4, 3, 3, generator=generator)
    centers = torch.randn(4, 3, generator=generator) * 6
    labels = torch.randint(4, (rows,), generator=generator)
    noise = torch.randn(rows, 1, 3, generator=generator)
    return (noise @ shapes[labels])[:, 0] + centers[labels] + 30


def test_the_mixture_is_as_likely_as_that_of_scikit_learn() -> None:
    codes = clusters(2000)
    mixture = build(**IMAGE | {"latent_size": 3}, num_mixture_components=4).prior
    score = mixture.fit(codes)
    reference = SklearnMixture(4, n_init=3, random_state=0).fit(codes.double().numpy())
    found = mixture.log_prob(codes)
    assert found.mean().item() == pytest.approx(reference.score(codes.double().numpy()), abs=0.005)
    assert found.mean().item() == pytest.approx(score, abs=0.005)  # of the step before the last
    again = build(**IMAGE | {"latent_size": 3}, num_mixture_components=4).prior
    again.fit(codes)
    assert torch.equal(again.means, mixture.means)


def test_the_mixture_is_the_one_of_torch_distributions_and_samples_have_its_moments() -> None:
    codes = clusters(2000)
    mixture = build(**IMAGE | {"latent_size": 3}, num_mixture_components=3).prior
    mixture.fit(codes)
    reference = MixtureSameFamily(
        Categorical(mixture.weights), MultivariateNormal(mixture.means, scale_tril=mixture.cholesky)
    )
    torch.testing.assert_close(mixture.log_prob(codes).float(), reference.log_prob(codes), rtol=1e-4, atol=1e-4)
    drawn = mixture.sample(20_000, torch.Generator().manual_seed(0))
    # Standard errors: spread 6 / sqrt(20,000) = 0.04 of a mean.
    torch.testing.assert_close(drawn.mean(0), reference.mean, rtol=0, atol=0.2)
    torch.testing.assert_close(drawn.std(0), reference.stddev, rtol=0.03, atol=0)


def test_a_mixture_of_more_gaussians_than_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="needs at least 5 rows, got 3"):
        build(**IMAGE, num_mixture_components=5).prior.fit(torch.randn(3, 2))


def test_a_mixture_says_before_a_training_that_its_rows_are_too_few() -> None:
    model = build(**IMAGE, num_mixture_components=5)
    with pytest.raises(ValueError, match=r"needs at least 5 rows, got 3: lower num_mixture_components"):
        model.check_training_rows(3)
    model.check_training_rows(5)
    build(**IMAGE).check_training_rows(1)


def test_a_prior_of_long_codes_is_fitted_in_the_plane_in_which_they_vary() -> None:
    generator = torch.Generator().manual_seed(0)
    plane, _ = torch.linalg.qr(torch.randn(100, 3, generator=generator))
    center = torch.randn(100, generator=generator)
    codes = center + torch.randn(4000, 3, generator=generator) * torch.tensor([3.0, 2.0, 1.0]) @ plane.T
    mixture = GaussianMixture(2, 100)
    mixture.init_weights()
    mixture.fit(codes)
    assert mixture.means.shape == (2, MIXTURE_RANK)
    drawn = mixture.sample(4000, generator)
    # Of 4,000 draws a mean has a standard error of at most 3 / sqrt(4000) = 0.05, a covariance of 9 one of about 0.2.
    torch.testing.assert_close(drawn.mean(0), codes.mean(0), atol=0.25, rtol=0)
    torch.testing.assert_close(plane.T @ drawn.T.cov() @ plane, plane.T @ codes.T.cov() @ plane, atol=1.0, rtol=0)
    left_over = (drawn - center) - (drawn - center) @ plane @ plane.T
    assert left_over.abs().max() < 0.05


def test_a_fitted_prior_is_stored(tmp_path: Path) -> None:
    model = build(**TINY["vector_quantized"])
    inputs = tiny_inputs(model.config, "Model", 12, torch.Generator().manual_seed(0))
    model.fit_after_training([inputs])
    model.save_pretrained(tmp_path)
    loaded = AutoencoderModel.from_pretrained(tmp_path)
    assert loaded.has_fitted_prior
    assert torch.equal(
        loaded.sample(3, torch.Generator().manual_seed(0)), model.sample(3, torch.Generator().manual_seed(0))
    )
    assert torch.equal(model.decode_codes(model.encode_codes(**inputs)), model.decode(model.encode(**inputs)))


def test_an_interpolation_leads_from_one_reconstruction_to_the_other() -> None:
    model, a, b = build(**IMAGE, kind="plain"), torch.rand(3, 1, 4, 4), torch.rand(3, 1, 4, 4)
    way = model.interpolate(a, b, num_steps=5)
    assert way.shape == (3, 5, 1, 4, 4)
    torch.testing.assert_close(way[:, 0], model(a).reconstruction)
    torch.testing.assert_close(way[:, 4], model(b).reconstruction)
    torch.testing.assert_close(way[:, 2], model.decode((model.encode(a) + model.encode(b)) / 2))
