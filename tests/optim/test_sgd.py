from tinygrad_gpt import Tensor
from tinygrad_gpt.optim import SGD


def test_steps_by_hand():
    p = Tensor([1.0], requires_grad=True)
    optimizer = SGD([p], lr=0.5, momentum=0.5)
    for expected in (0.0, -1.5, -3.25):  # b = 2, 3, 3.5
        p.grad = Tensor([2.0])
        optimizer.step()
        assert p.tolist() == [expected]


def test_a_step_writes_into_the_parameters_memory():
    p = Tensor([1.0], requires_grad=True)
    memory = p.data
    p.grad = Tensor([1.0])
    SGD([p], lr=1.0).step()
    assert p.data is memory
    assert memory.tolist() == [0.0]
