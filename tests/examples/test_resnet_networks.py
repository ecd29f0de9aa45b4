"""The networks and the optimizers of the training jobs: Flax and PyTorch compute the same."""

import numpy as np
import pytest

pytestmark = pytest.mark.slow  # since they import both frameworks

PARAMETERS = [(18, 11_689_512), (50, 25_557_032)]  # of the usual ResNets for ImageNet


@pytest.mark.parametrize(("depth", "count"), PARAMETERS)
def test_a_network_of_flax_has_the_usual_number_of_parameters(depth, count):
    pytest.importorskip("flax")
    import jax

    from tests.examples.resnet.flax_model import ResNet

    network = ResNet(depth, 1000)
    shapes = jax.eval_shape(
        lambda: network.init(jax.random.key(0), jax.numpy.zeros((1, 224, 224, 3)), train=False)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == count


@pytest.mark.parametrize(("depth", "count"), PARAMETERS)
def test_a_network_of_pytorch_has_the_usual_number_of_parameters(depth, count):
    torch = pytest.importorskip("torch")
    from tests.examples.resnet.torch_model import ResNet

    with torch.device("meta"):
        network = ResNet(depth, 1000)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize(("depth", "size"), [(18, 16), (50, 65)])
def test_both_networks_compute_the_same_from_the_same_weights(depth, size):
    torch = pytest.importorskip("torch")
    pytest.importorskip("flax")
    import jax

    from tests.examples.resnet import flax_model, torch_model

    small = size <= 64
    torch.manual_seed(0)
    network = torch_model.ResNet(depth, 10, 3, 8, small).eval()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):  # nothing is to be zero or one
            for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                torch.nn.init.uniform_(tensor, 0.5, 1.5)
    images = torch.randn(2, size, size, 3)

    # In both, layers stand in the order in which they are applied, and shortcuts last in their block.
    given = iter(network.state_dict().items())
    flax = flax_model.ResNet(depth, 10, 8, small)
    variables = jax.eval_shape(lambda: flax.init(jax.random.key(0), images.numpy(), train=False))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables)
    names = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}

    def place(holder, numbers, name, tensor):
        kind = "Conv" if tensor.ndim == 4 else "BatchNorm"
        if kind == "Conv":
            holder["params"][f"Conv_{numbers['Conv']}"]["kernel"] = tensor.numpy().transpose(2, 3, 1, 0)
            numbers["Conv"] += 1
            return
        part = "batch_stats" if name.startswith("running") else "params"
        holder[part][f"Normalisation_{numbers['Norm']}"]["BatchNorm_0"][names[name]] = tensor.numpy()
        numbers["Norm"] += name == "running_var"

    blocks, numbers = {}, {"Conv": 0, "Norm": 0}
    for full, tensor in given:
        owner, *inner = full.split(".")
        if inner[-1] == "num_batches_tracked":
            continue
        if tensor.ndim == 2 or (inner == ["bias"] and tensor.shape == (10,)):
            part = "kernel" if tensor.ndim == 2 else "bias"
            variables["params"]["Dense_0"][part] = tensor.numpy().T
        elif len(inner) > 1:
            number, counts = blocks.setdefault(owner, (len(blocks), {"Conv": 0, "Norm": 0}))
            holder = {part: variables[part][f"Block_{number}"] for part in variables}
            place(holder, counts, inner[-1], tensor)
        else:
            place(variables, numbers, inner[-1], tensor)
    with torch.no_grad():
        expected = network(images.permute(0, 3, 1, 2)).numpy()
    found = np.asarray(jax.jit(lambda v, x: flax.apply(v, x, train=False))(variables, images.numpy()))
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


def test_the_blocks_of_both_networks_begin_as_the_identity():
    torch = pytest.importorskip("torch")
    pytest.importorskip("flax")
    import jax

    from tests.examples.resnet import flax_model, torch_model

    block = torch_model.Block(8, 8, 1, bottleneck=False)
    x = torch.rand(2, 8, 4, 4)
    assert torch.equal(block(x), x)
    block = flax_model.Block(8, 1, bottleneck=False)
    x = np.random.default_rng(0).random((2, 4, 4, 8), np.float32)
    variables = block.init(jax.random.key(0), x, train=False)
    assert (np.asarray(block.apply(variables, x, train=False)) == x).all()


# Optimizers.


def test_both_optimizers_lead_to_the_same_weights_and_decay_no_bias():
    torch = pytest.importorskip("torch")
    pytest.importorskip("flax")
    import jax.numpy as jnp
    import optax

    from tests.examples.resnet import flax_train, torch_train

    layer = torch.nn.Linear(3, 2)
    other = torch_train.sgd(layer, momentum=0.9, weight_decay=0.1)
    params = {name: jnp.asarray(tensor.detach().numpy().copy()) for name, tensor in layer.named_parameters()}
    variables = {"params": params, "batch_stats": {"mean": jnp.ones(2)}}
    optimizer = flax_train.sgd(momentum=0.9, weight_decay=0.1)
    state = optimizer.init(variables)
    random = np.random.default_rng(0)
    for rate in (0.1, 0.2, 0.05):
        gradients = {name: random.random(leaf.shape, np.float32) for name, leaf in params.items()}
        for name, tensor in layer.named_parameters():
            tensor.grad = torch.tensor(gradients[name])
        for group in other.param_groups:
            group["lr"] = rate
        other.step()
        state = optax.tree_utils.tree_set(state, learning_rate=jnp.float32(rate))
        moves = {"params": gradients, "batch_stats": {"mean": jnp.full(2, 0.25)}}
        updates, state = optimizer.update(moves, state, variables)
        variables = optax.apply_updates(variables, updates)
    for name, tensor in layer.named_parameters():
        np.testing.assert_allclose(variables["params"][name], tensor.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert (np.asarray(variables["batch_stats"]["mean"]) == 1.75).all()
    assert [group["weight_decay"] for group in other.param_groups if group["params"][0].ndim == 1] == [0.0]
