"""What whole programs use: draws, losses, files, devices."""

SAVED = "import os, tempfile; path = os.path.join(tempfile.mkdtemp(), 'model.pth')\n"

CUBE = "f = lambda x: (x ** 3).sum(); x = torch.tensor([1., 2.], requires_grad=True)\n"

SAME = [
    CUBE + "torch.autograd.grad(f(x), x)",
    CUBE + "g, = torch.autograd.grad(f(x), [x], create_graph=True); torch.autograd.grad(g.sum(), x)",
    CUBE + "torch.autograd.functional.jacobian(lambda x: x ** 2, x)",
    CUBE + "torch.autograd.functional.hessian(f, x)",
    CUBE + "torch.autograd.functional.hvp(f, x, torch.tensor([1., 0.]))",
    CUBE + "torch.autograd.functional.jvp(lambda x: x ** 2, x, torch.tensor([1., 0.]))",
    CUBE + "with torch.autograd.no_grad():\n  y = f(x)\ny",
    "torch.multinomial(torch.tensor([0.1, 0.7, 0.2]), num_samples=1)",
    "torch.multinomial(torch.softmax(torch.randn(3, 9), dim=-1), 4)",
    "torch.multinomial(torch.rand(2, 5), num_samples=6, replacement=True)",
    "torch.multinomial(torch.zeros(3), 1)",
    "torch.cat([torch.ones(2, 1), torch.zeros(2, 2)], dim=-1)",
    "torch.cat((torch.ones(2), torch.zeros(2)))",
    "torch.where(condition=torch.tensor([True, False]), input=torch.tensor(float('-inf')), other=torch.ones(2))",
    "torch.dot(torch.tensor([1., 2.]), torch.tensor([3., 4.]))",
    "torch.triu(torch.ones(3, 3), diagonal=1).bool()",
    "torch.topk(torch.tensor([0.5, 2.0, 1.0]), 2).values",
    "x = torch.tensor([-torch.inf, torch.pi, torch.e, torch.nan]); x",
    "torch.cuda.is_available(), torch.backends.mps.is_available()",
    "device = torch.device('cuda' if torch.cuda.is_available() else 'cpu'); str(torch.ones(2).to(device).device)",
    SAVED + "torch.save({'step': 3, 'x': torch.ones(2), 'betas': (0.9, 0.99)}, path); torch.load(path)['x']",
    SAVED + "m = nn.Linear(2, 3); torch.save(m.state_dict(), path); n = nn.Linear(2, 3)\n"
            "n.load_state_dict(torch.load(path, map_location=torch.device('cpu'), weights_only=True)); n.weight",
    SAVED + "torch.load(path)",
    "F.cross_entropy(torch.tensor([[-1.0, 1.0], [-0.5, 1.5]]), torch.tensor([0, 1]))",
    "F.cross_entropy(torch.tensor([[-1.0, 1.0], [-0.5, 1.5]]), torch.tensor([0, -100]), reduction='sum')",
    "F.cross_entropy(torch.randn(2, 5, 3), torch.tensor([[0, 1, 2], [4, 3, 2]]), label_smoothing=0.1)",
    "nn.MSELoss()(torch.tensor([[0.5]]), torch.tensor([[0.]]))",
    "F.binary_cross_entropy(torch.tensor([0.9, 0.2]), torch.tensor([1., 0.]))",
    "F.binary_cross_entropy_with_logits(torch.tensor([0., 30., -200.]), torch.tensor([1., 0., 1.]), reduction='none')",
    "x = torch.tensor([0.0], requires_grad=True)\n"
    "F.binary_cross_entropy_with_logits(x, torch.tensor([1.])).backward(); x.grad",
]

DIFFERENT = [
    (CUBE + "torch.autograd.gradcheck(f, x.double()) is True", "`autograd.gradcheck`"),
    (CUBE + "torch.autograd.Function.__name__", "`autograd.Function`"),
    (CUBE + "f(x).backward(inputs=[x]); x.grad", "`y.backward(inputs=[…])`"),
    (CUBE + "torch.autograd.functional.vjp(f, x)", "`autograd.backward`, `autograd.functional.vjp`, `func`"),
    ("torch.utils.data.Dataset.__name__", "`torch.utils.data`"),
    (SAVED + "torch.save({'x': torch.ones(2)}, path); open(path, 'rb').read(2)", "`torch.save(x, path)`"),
    ("F.cross_entropy(torch.ones(1, 2), torch.tensor([-100])).item() == 0.0",
     "`F.cross_entropy` where all targets are ignored"),
]
