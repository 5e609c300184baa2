"""The listings of appendix A with the values that the book prints."""

import re

import pytest
from printed import assert_prints, corners


@pytest.fixture
def appendix(listing):
    return listing("appendix_a")


@pytest.fixture
def loaders(appendix):
    return appendix.loaders()


@pytest.fixture
def model(appendix, loaders):
    return appendix.training_loop(loaders[0])


def test_a_2_tensors(appendix):
    assert appendix.tensors().tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_4_gradients(appendix):
    loss, grad_L_w1, grad_L_b, w1, b = appendix.gradients()
    assert_prints(loss.item(), "0.0852")
    for gradient in (grad_L_w1[0], w1.grad):
        assert_prints(gradient.numpy(), "[-0.0898]")
    for gradient in (grad_L_b[0], b.grad):
        assert_prints(gradient.numpy(), "[-0.0817]")


def test_a_5_neural_network(appendix, capsys):
    model, out = appendix.forward_pass()
    assert_prints(out.numpy(), "[[0.3113, 0.3934, 0.2952]]")
    assert_prints(corners(model.layers[0].weight.detach().numpy(), axes=2), """
        [[-0.0577,  0.0047, -0.0702,  ...,  0.0222,  0.1260,  0.0865],
         [ 0.0502,  0.0307,  0.0333,  ...,  0.0951,  0.1134, -0.0297],
         [ 0.1077, -0.1108,  0.0122,  ...,  0.0108, -0.1049, -0.1063],
         ...,
         [-0.0787,  0.1259,  0.0803,  ...,  0.1218,  0.1303, -0.1351],
         [ 0.1359,  0.0175, -0.0673,  ...,  0.0674,  0.0676,  0.1058],
         [ 0.0790,  0.1343, -0.0293,  ...,  0.0344, -0.0971, -0.0509]]""")
    printed = capsys.readouterr().out
    assert printed.startswith("""NeuralNetwork(
  (layers): Sequential(
    (0): Linear(in_features=50, out_features=30, bias=True)
    (1): ReLU()
    (2): Linear(in_features=30, out_features=20, bias=True)
    (3): ReLU()
    (4): Linear(in_features=20, out_features=3, bias=True)
  )
)
Total number of trainable model parameters: 2213
""")


def test_a_6_loaders(appendix, loaders):
    assert [len(loader) for loader in loaders] == [2, 1]
    appendix.torch.manual_seed(123)
    batches = [[features.tolist(), labels.tolist()] for features, labels in appendix.DataLoader(
        appendix.ToyDataset(appendix.X_train, appendix.y_train), batch_size=2, shuffle=True)]
    assert [labels for _, labels in batches] == [[1, 0], [0, 0], [1]]
    assert_prints([row for features, _ in batches for row in features], """
        [[ 2.3000, -1.1000],
         [-0.9000,  2.9000],
         [-1.2000,  3.1000],
         [-0.5000,  2.6000],
         [ 2.7000, -1.5000]]""")


def test_a_7_training_loop(appendix, loaders, capsys):
    appendix.training_loop(loaders[0])
    losses = re.findall(r"Train/Val Loss: (\S+)", capsys.readouterr().out)
    assert losses == ["0.75", "0.65", "0.44", "0.13", "0.03", "0.00"]


def test_a_7_predictions(appendix, model, loaders):
    outputs, probas = appendix.predictions(model)
    assert_prints(outputs.numpy(), """
        [[ 2.8569, -4.1618],
         [ 2.5382, -3.7548],
         [ 2.0944, -3.1820],
         [-1.4814,  1.4816],
         [-1.7176,  1.7342]]""")
    assert_prints(probas.numpy(), """
        [[0.9991, 0.0009],
         [0.9982, 0.0018],
         [0.9949, 0.0051],
         [0.0491, 0.9509],
         [0.0307, 0.9693]]""")
    assert [appendix.compute_accuracy(model, loader) for loader in loaders] == [1.0, 1.0]


def test_a_8_saving_and_loading(appendix, model, tmp_path):
    loaded = appendix.save_and_load(model, tmp_path / "model.pth")
    assert loaded(appendix.X_train).tolist() == model(appendix.X_train).tolist()


def test_a_9_on_a_device(appendix, loaders):
    model = appendix.on_a_device(loaders[0])
    assert [appendix.compute_accuracy(model, loader) for loader in loaders] == [1.0, 1.0]
