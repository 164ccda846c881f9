"""Networks exported for nnU-Net give the same outputs in dynamic-network-architectures."""

from pydoc import locate

import pytest
import torch

from train.networks.build import build_network
from train.networks.network import Levels
from train.nnunet.architecture import express

THICK = Levels(((1, 2, 2), (2, 2, 2)), (4, 8, 16), ((1, 3, 3), (3, 3, 3), (3, 3, 3)))

NETWORKS = {
    "dynunet": ("dynunet", (16, 16, 32), {"filters": 2}),
    "dynunet of plans": ("dynunet", (8, 16, 16), {"levels": THICK}),
    "resenc": ("resenc-s", (16, 16, 32), {"filters": 2, "skips": True}),
    "resenc without skips": ("resenc-s", (16, 16, 16), {"filters": 2, "skips": False}),
}


def build(plan, channels, outputs=2):
    """Build a network as nnU-Net does from a plan."""
    arguments = dict(plan["arch_kwargs"])
    for name in plan["arch_kwargs_requiring_import"]:
        arguments[name] = arguments[name] and locate(arguments[name])
    return locate(plan["arch_class_name"])(input_channels=channels, num_classes=outputs, **arguments)


def under(weights, prefix):
    return {name[len(prefix) + 1 :]: tensor for name, tensor in weights.items() if name.startswith(f"{prefix}.")}


@pytest.mark.parametrize("name", NETWORKS)
def test_encoder_and_stem_load_strictly_and_compute_the_same(name, one_thread):
    kind, crop, settings = NETWORKS[name]
    ours = build_network(kind, 2, crop, **settings)
    found = express(ours.about, {one: ours.module.state_dict()[one] for one in ours.tensors})
    theirs = build(found.plan, 2)
    # The package says itself where they stand.
    assert (found.encoder, found.stem) == (theirs.key_to_encoder, theirs.key_to_stem)
    assert set(found.projections) == set(theirs.keys_to_in_proj)
    assert all(f"{place}.weight" in found.weights for place in found.projections)
    for prefix in (found.encoder, found.stem):
        theirs.get_submodule(prefix).load_state_dict(under(found.weights, prefix), strict=True)
    image = torch.randn(1, 2, *crop)
    with torch.no_grad():
        torch.testing.assert_close(theirs.encoder(image)[-1], ours.features(image), rtol=1e-6, atol=1e-6)
    assert found.has_decoder == (name != "resenc without skips")
    if found.has_decoder:
        answer = theirs.load_state_dict(found.weights, strict=False)
        assert answer.unexpected_keys == []
        assert all(".seg_layers." in one for one in answer.missing_keys)


@pytest.mark.parametrize(("filters", "called"), [(32, "ResEncL"), (16, "ResidualEncoderUNet")])
def test_only_the_real_one_is_called_resencl(filters, called):
    about = {"network": "resenc-l", "channels": 1, "crop": [64, 64, 64], "filters": filters, "outputs": 1, "dims": 3}
    plan = express({**about, "skips": True}, {}).plan
    assert plan["arch_class_name"].split(".")[-1] == called
    assert (plan["arch_kwargs"] is None) == (plan["arch_kwargs_requiring_import"] is None) == (called == "ResEncL")


@pytest.mark.parametrize("name", ["nsunet", "sononet64", "locnet"])
def test_other_networks_are_refused_by_name(name):
    about = {"network": name, "channels": 1, "crop": [32, 32, 32], "filters": 4, "outputs": 1}
    with pytest.raises(ValueError, match=f"expected one of dynunet, resenc-l, resenc-s, .*, got {name}; pre-train"):
        express(about, {})


def test_networks_of_images_are_refused():
    about = build_network("dynunet", 1, (1, 16, 16), filters=2, dims=2).about
    with pytest.raises(ValueError, match="dims: expected 3, .* got 2; pre-train with --plans and --configuration 2d"):
        express(about, {})
