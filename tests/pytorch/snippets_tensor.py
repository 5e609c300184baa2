"""Tensors: creation, operators, changes in place, conversions, promotion."""

X = "x = torch.tensor([0., 2., 0., 4.])\n"
I = "i = torch.tensor([1, 2, 3])\n"
W = "w = torch.tensor([1., 2.], requires_grad=True)\n"
M = "m = torch.arange(6.).reshape(2, 3)\n"

SAME = [
    # creation
    "torch.zeros(2, 3)", "torch.ones((2,))", "torch.zeros(2, dtype=torch.long)", "torch.full((2,), 7)",
    "torch.full((2,), 7.5)", "torch.full((2,), True)", "torch.eye(3)", "torch.eye(2, 3)", "torch.arange(5)",
    "torch.arange(1, 10, 3)", "torch.arange(0., 1., 0.25)", "torch.arange(5, 0, -2)", "torch.arange(0, 5, -1)",
    "torch.linspace(0, 1, 5)", "torch.tensor([1, 2]).dtype", "torch.tensor([1., 2.]).dtype",
    "torch.tensor(np.ones(2)).dtype", "torch.tensor([True]).dtype", "torch.tensor([[1, 2], [3, 4]])",
    "torch.tensor([1, 2], dtype=torch.float32)", "torch.tensor([1.5], dtype=torch.int64)",
    "torch.tensor([torch.tensor(1.), torch.tensor(2.)])", "torch.tensor(3.5).item()", "torch.tensor('a')",
    "torch.tensor([1], requires_grad=True)", "torch.zeros(2, -1)", "torch.from_numpy(np.ones(2))",
    "torch.as_tensor([1, 2])", "torch.zeros_like(torch.ones(2, 3))", "torch.ones_like(torch.arange(3))",
    "torch.full_like(torch.ones(2), 3)", "torch.rand(2, 3)", "torch.randn(5)", "torch.randn(4, 5)",
    "torch.randint(0, 10, (5,))", "torch.randint(10, (2, 2))", "torch.randperm(8)", "torch.rand_like(torch.ones(3))",
    "torch.randn_like(torch.ones(3))", "torch.randn(3, dtype=torch.float64)", "torch.randint(5, 5, (2,))",
    "g = torch.Generator().manual_seed(3)\ntorch.rand(2, generator=g)", "torch.is_tensor(torch.ones(1))",
    "a = np.ones(2)\nt = torch.from_numpy(a)\nt[0] = 5.0\na",
    # comparisons and masks
    X + "x == 0", X + "x != 0", X + "x[x == 2.]", X + "x == x", X + "x != x",
    X + "(x == torch.tensor(2.)).sum().item()",
    X + "x == None", X + "x != None", X + "x == 'a'", X + "x < 2", X + "2 > x", X + "x < None", X + "2. in x",
    X + "5. in x", X + "x == torch.ones(3)", X + "{x: 1}[x]", X + "x in [torch.ones(4), x]", X + "hash(x) == hash(x)",
    X + "len({x, x, x + 0})", X + "bool(x)", X + "bool(x.sum() == 6)", X + "if x.sum() > 1:\n    y = 3\ny",
    X + "~(x == 0)", X + "(x > 0) & (x < 3)", X + "(x > 3) | (x == 0)", X + "(x > 3) ^ (x == 0)", X + "~x",
    I + "~i", I + "i & 1", I + "i | 4", I + "i << 1", I + "i % 2", I + "-i % 2", X + "x % 3",
    X + "x // 3", I + "i // 2",
    X + "-x // 3", "x = torch.tensor([5.5, -5.5], requires_grad=True)\n(x % 2).sum().backward()\nx.grad",
    "p = torch.tensor([1, 0, 1])\ny = torch.tensor([1, 1, 1])\n(p == y).float().mean()",
    # changes in place
    W + "(w * w).sum().backward()\nwith torch.no_grad():\n    w -= 0.1 * w.grad\nw",
    W + "v = w\nwith torch.no_grad():\n    w *= 2\nv", W + "w += 1", W + "w.add_(1)", W + "w[0] = 5.",
    "a = torch.ones(2)\nb = a\nb += 1\na", "a = torch.ones(2)\na -= 3\na", "a = torch.ones(2)\na **= 2\na",
    "a = torch.tensor([1, 2])\na += 0.5", "a = torch.tensor([1, 2])\na /= 2", "a = torch.tensor([1, 2])\na *= 2\na",
    "a = torch.ones(2)\na += torch.ones(3, 2)", W + "y = w * 2\ny += 1\ny.sum().backward()\nw.grad",
    W + "y = w * 2\ny *= w\ny.sum().backward()\nw.grad", W + "y = w.exp()\ny += 1\ny.sum().backward()\nw.grad",
    W + "t = torch.tensor(0.)\nfor _ in range(3):\n    t += (w * w).sum()\nt.backward()\nw.grad",
    W + "t = 0\nfor _ in range(3):\n    t += (w * w).sum()\nt.backward()\nw.grad",
    "torch.ones(2).mul_(3)", "torch.ones(2).sub_(1, alpha=2)", "torch.ones(2).div_(4)", "torch.ones(2).zero_()",
    "torch.ones(2).fill_(7)", "torch.ones(2).copy_(torch.tensor([3., 4.]))", "torch.ones(3).normal_()",
    "torch.ones(3).uniform_(-1, 1)", W + "w.requires_grad_(False).requires_grad", W + "w.is_leaf",
    W + "(w * 2).is_leaf",
    # backward
    W + "(w * w).backward(gradient=torch.tensor([1., 10.]))\nw.grad", W + "(w * w).backward(torch.ones(2))\nw.grad",
    W + "(w * w).backward()", W + "w.detach().requires_grad", W + "(w * 2).detach()",
    W + "h = w.register_hook(lambda g: g * 3)\nw.sum().backward()\nh.remove()\nw.sum().backward()\nw.grad",
    W + "w.register_hook(lambda g: np.ones(2))\nw.sum().backward()",
    W + "@torch.no_grad()\ndef f():\n    return w * 2\nf()",
    W + "@torch.no_grad()\ndef f():\n    yield w * 2\nnext(f())",
    W + "with torch.no_grad():\n    with torch.enable_grad():\n        y = w * 2\ny.requires_grad",
    W + "with torch.set_grad_enabled(False):\n    y = w * 2\ny.requires_grad", "torch.is_grad_enabled()",
    W + "import copy\nv = copy.deepcopy(w)\n(w - 2 * v).sum().backward()\nv.grad",
    W + "import copy\ncopy.deepcopy(w * 2)",
    W + "import pickle\npickle.loads(pickle.dumps(w))",
    # numbers and NumPy
    "f'{torch.tensor(1.5):.3f}'", "f'{torch.tensor(3):04d}'", "f'{torch.ones(2):.2f}'", "int(torch.tensor(2.7))",
    "float(torch.tensor(2))", "list(range(torch.tensor(3)))", "range(torch.tensor(3.))", "[1, 2, 3][torch.tensor(1)]",
    "int(torch.ones(2))", "complex(torch.tensor(2.))", X + "np.asarray(x)", X + "np.array(x, dtype=np.float64)",
    X + "np.testing.assert_allclose(x, [0, 2, 0, 4])", X + "x.tolist()", X + "x.numpy()", M + "list(reversed(m))",
    M + "len(m)", "len(torch.tensor(1.))", X + "np.float64(2) * x", X + "x * np.float32(2)",
    # promotion
    I + "i / 2", I + "i + 0.5", I + "i * 2", I + "i / i", I + "i * torch.tensor([.5, .5, .5])", I + "i ** 2",
    I + "(i / 2) * torch.ones(3)", "torch.tensor([True, False]) + 0.5", "torch.tensor([True, False]) * torch.ones(2)",
    "torch.ones(2, dtype=torch.float64) * 2.5", "torch.ones(2, dtype=torch.float16) * 2.5", I + "i.sum()",
    "torch.exp(torch.tensor([1, 2]))", "torch.tensor([1, 2]).float().mean()",
    I + "i.mean()", X + "(x == 0).mean()", I + "i.mean(0)",
    # methods
    X + "x.clone()", W + "w.clone().sum().backward()\nw.grad", I + "i.float()", X + "x.long()", X + "x.double()",
    X + "x.half()", X + "x.int()", X + "x.bool()", X + "x.to(torch.float64)", X + "x.to('cpu')",
    X + "x.to(dtype=torch.int64)", X + "x.to(torch.device('cpu'))", X + "x.type(torch.float64)", X + "x.cpu() is x",
    X + "x.to(torch.float32) is x", I + "i.type_as(torch.ones(1))", M + "m.numel()", M + "m.size()", M + "m.size(0)",
    M + "m.size(-1)", M + "m.dim()", M + "m.shape", M + "m.nelement()", M + "m.element_size()", M + "m.is_contiguous()",
    M + "m.T.is_contiguous()", M + "m.T.contiguous()", M + "m.new_zeros(2)", M + "m.new_ones(2, 2)",
    M + "m.new_full((2,), 3.)", M + "m.is_floating_point()", X + "x.device.type", X + "x.cuda()",
]

DIFFERENT = [
    (M + "m.size == 6", "`x.size` without a call"),
    ("type(torch.ones(2).data).__name__ == 'Tensor'", "`x.data`"),
    ("x = torch.ones(2, requires_grad=True)\nx.numpy()", "`x.numpy()`, `np.asarray(x)` of a tensor on the tape"),
    ("torch.ones(2) + torch.ones(2, dtype=torch.float64)", "float32 and float64 tensors in one op"),
    (W + "y = torch.zeros(2)\ny[0] = w[0]\ny", "`y[i] = x` with `x` on the tape"),
    (W + "y = w * 2\nv = y[0]\nv += 1\ny", "`v += 1` on the tape, where `v` is a view or has one"),
    ("torch.ones(2) == [1., 2.]", "`x == [1., 2.]`"),
    ("round(torch.tensor(1.26), 1)", "`round(x, 1)` of one value"),
    ("str(torch.float32) == 'float32'", "`str(torch.float32)`"),
    ("repr(torch.ones(2))", "`repr(x)`"),
]
