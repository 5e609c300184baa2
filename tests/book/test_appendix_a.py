"""Appendix A: introduction to PyTorch, with our Tensor in its place."""

import numpy as np
import pytest
from printed import assert_prints, corners, linear

from tinygrad_gpt import Tensor, ops
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.nn import Module
from tinygrad_gpt.random import TorchStream

X_TRAIN = np.array([[-1.2, 3.1], [-0.9, 2.9], [-0.5, 2.6], [2.3, -1.1], [2.7, -1.5]], np.float32)
Y_TRAIN = np.array([0, 0, 0, 1, 1])


class NeuralNetwork(Module):
    """Layers of 30 and 20 with ReLU."""

    def __init__(self, stream, n_in, n_out):
        self.layers = [linear(stream, *sizes) for sizes in ((n_in, 30), (30, 20), (20, n_out))]

    def forward(self, x):
        first, second, last = self.layers
        return last(ops.relu(second(ops.relu(first(x)))))


@pytest.fixture
def net():
    return NeuralNetwork(TorchStream(123), 50, 3)


def test_a_2_3_products():
    x = Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert x.T.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert (x @ x.T).tolist() == [[14, 32], [32, 77]]


def test_a_4_loss_and_gradients():
    w, b = Tensor([2.2], requires_grad=True), Tensor([0.0], requires_grad=True)
    a = ops.sigmoid(Tensor([1.1]) * w + b)
    loss = -a.log().mean()  # binary cross-entropy with the label 1
    assert_prints(loss.numpy(), "0.0852")
    loss.backward()
    assert_prints(w.grad.numpy(), "[-0.0898]")
    assert_prints(b.grad.numpy(), "[-0.0817]")


def test_a_5_parameters(net):
    assert net.size == 2213
    assert NeuralNetwork(TorchStream(123), 2, 2).size == 752  # exercise A.3
    weight = net.layers[0].weight.T.numpy()
    assert weight.shape == (30, 50)
    assert_prints(corners(weight, axes=2), """
        [[-0.0577,  0.0047, -0.0702,  ...,  0.0222,  0.1260,  0.0865],
         [ 0.0502,  0.0307,  0.0333,  ...,  0.0951,  0.1134, -0.0297],
         [ 0.1077, -0.1108,  0.0122,  ...,  0.0108, -0.1049, -0.1063],
         ...,
         [-0.0787,  0.1259,  0.0803,  ...,  0.1218,  0.1303, -0.1351],
         [ 0.1359,  0.0175, -0.0673,  ...,  0.0674,  0.0676,  0.1058],
         [ 0.0790,  0.1343, -0.0293,  ...,  0.0344, -0.0971, -0.0509]]""")


def test_a_5_outputs(net):
    out = net(Tensor(TorchStream(123).uniform(1, 50)))
    assert_prints(out.numpy(), "[[-0.1262,  0.1080, -0.1792]]")
    assert_prints(ops.softmax(out).numpy(), "[[0.3113, 0.3934, 0.2952]]")


def test_a_6_batches_of_the_data_loader():
    stream = TorchStream(123)
    order = stream.loader_order(5, shuffle=True)
    assert_prints(X_TRAIN[order], """
        [[ 2.3000, -1.1000],
         [-0.9000,  2.9000],
         [-1.2000,  3.1000],
         [-0.5000,  2.6000],
         [ 2.7000, -1.5000]]""")
    assert Y_TRAIN[order].tolist() == [1, 0, 0, 0, 1]
    order = stream.loader_order(5, shuffle=True)[:4]  # drop_last
    assert_prints(X_TRAIN[order], """
        [[-1.2000,  3.1000],
         [-0.5000,  2.6000],
         [ 2.3000, -1.1000],
         [-0.9000,  2.9000]]""")
    assert Y_TRAIN[order].tolist() == [0, 0, 1, 0]


def test_a_7_a_training_loop():
    stream = TorchStream(123)
    model = NeuralNetwork(stream, 2, 2)
    losses = []
    for _ in range(3):
        order = stream.loader_order(5, shuffle=True)
        for batch in (order[:2], order[2:4]):
            loss = ops.cross_entropy(model(Tensor(X_TRAIN[batch])), Y_TRAIN[batch])
            model.zero_grad()
            loss.backward()
            with no_grad():  # gradient descent with a learning rate of 0.5
                for parameter in model.parameters():
                    parameter.copy_(parameter - 0.5 * parameter.grad)
            losses.append(loss.item())
    assert_prints(losses, "0.75 0.65 0.44 0.13 0.03 0.00")
    outputs = model(Tensor(X_TRAIN))
    assert_prints(outputs.numpy(), """
        [[ 2.8569, -4.1618],
         [ 2.5382, -3.7548],
         [ 2.0944, -3.1820],
         [-1.4814,  1.4816],
         [-1.7176,  1.7342]]""")
    assert_prints(ops.softmax(outputs).numpy(), """
        [[0.9991, 0.0009],
         [0.9982, 0.0018],
         [0.9949, 0.0051],
         [0.0491, 0.9509],
         [0.0307, 0.9693]]""")
    assert outputs.numpy().argmax(axis=1).tolist() == [0, 0, 0, 1, 1]
