"""Methods that calculate, reshape and select."""

SAME = [
    "torch.tensor([[1., 2.], [3., 4.]]).transpose(0, 1)",
    "k = torch.arange(4.).view(2, 2)\ntorch.eye(2) @ k.transpose(-2, -1)",
    "torch.tensor([[1., 3.], [4., 2.]]).max(dim=1)",
    "torch.tensor([[1., 3.], [4., 2.]]).topk(1)",
    "torch.einsum('ij,jk->ik', torch.ones(2, 3), torch.ones(3, 2))",
    "torch.tensor([[1., 2.]]).sum(1, keepdim=True)",
    "torch.logsumexp(torch.tensor([float('inf'), 0.]), 0)",
    "torch.tensor([1., 2.]).masked_fill(torch.tensor([True, False]), float('-inf')).softmax(-1)",
]
DIFFERENT = [
    ("torch.tensor([[1., 3.]]).max(axis=1)", "`x.max(axis=1)`"),
    ("torch.tensor([[1., 2.], [3., 4.]]).T.view(4)", "`x.view(…)` of values not in order"),
    ("x = torch.tensor([1., 2.], requires_grad=True)\ny = x * 2\nview = y[:1]\n"
     "y.masked_fill_(torch.tensor([True, False]), 0.)\nview", "`y.masked_fill_(mask, v)` of a result"),
    ("torch.tensor([1.5], requires_grad=True).floor()", "`x.floor()`, `ceil`, `round`, `trunc`, `sign` on the tape"),
    ("x = torch.tensor([float('nan')], requires_grad=True)\nx.clamp(0., 1.).backward()\nx.grad",
     "`x.sign()`, and the gradients of `abs` and `clamp`, at NaN"),
]
