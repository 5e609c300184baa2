# %% [markdown]
# # 26. Tensors, modules, loaders and a loop
#
# The book's appendix A is an introduction to PyTorch. The same programs run here, because names and habits are the
# same: mostly the import line changes. The numbers are those that the book prints.

# %%
import tinygrad_gpt as tg
from tinygrad_gpt import nn, ops
from tinygrad_gpt.data import DataLoader, Dataset
from tinygrad_gpt.optim import SGD

# %% [markdown]
# ## Tensors (A.2)

# %%
x = tg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
print("shape", tuple(x.shape), " transposed", x.T.tolist())
print("product", (x @ x.T).tolist())

# prints:
#   shape (2, 3)  transposed [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]
#   product [[14.0, 32.0], [32.0, 77.0]]

# %% [markdown]
# ## A gradient (A.3, A.4)
#
# Logistic regression with one weight: `z = w x + b`, a probability by the sigmoid, and the loss `−ln p`. By hand the
# gradient of `z` is `p − 1`, and so that of `w` is `(p − 1) x`.

# %%
w, b = tg.tensor([2.2], requires_grad=True), tg.tensor([0.0], requires_grad=True)
p = ops.sigmoid(tg.tensor([1.1]) * w + b)
loss = nn.functional.binary_cross_entropy(p, tg.tensor([1.0]))
loss.backward()
print(f"loss {loss.item():.4f}   gradient of w {w.grad.item():.4f}, of b {b.grad.item():.4f}")
print(f"by hand                 {(p.item() - 1) * 1.1:.4f},      {p.item() - 1:.4f}")

# prints:
#   loss 0.0852   gradient of w -0.0898, of b -0.0817
#   by hand                 -0.0898,      -0.0817

# %% [markdown]
# ## A network (A.5)
#
# A module holds parameters and other modules, and `forward` says what they do.


# %%
class Network(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_in, 30), nn.ReLU(), nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, n_out))

    def forward(self, x):
        return self.layers(x)


tg.manual_seed(123)
network = Network(50, 3)
print("parameters:", sum(p.numel() for p in network.parameters()))
print("first weights:", network.layers[0].weight.numpy()[0, :3].round(4))
tg.manual_seed(123)
out = network(tg.rand(1, 50))
print("output", out.numpy().round(4), " probabilities", ops.softmax(out).numpy().round(4))

# prints:
#   parameters: 2213
#   first weights: [-0.0577  0.0047 -0.0702]
#   output [[-0.1262  0.108  -0.1792]]  probabilities [[0.3113 0.3934 0.2952]]

# %% [markdown]
# ## Data (A.6)
#
# A dataset knows its length and gives one example; a loader makes batches, in a new order in each epoch. The last
# batch may be smaller; a single example makes a noisy step, so it is dropped in training.


# %%
class Toy(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


points = tg.tensor([[-1.2, 3.1], [-0.9, 2.9], [-0.5, 2.6], [2.3, -1.1], [2.7, -1.5]])
labels = tg.tensor([0, 0, 0, 1, 1])
tg.manual_seed(123)
loader = DataLoader(Toy(points, labels), batch_size=2, shuffle=True, drop_last=True)
for epoch in range(2):
    for x, y in loader:
        print(f"epoch {epoch + 1}: {x.numpy()[0]} {x.numpy()[1]} labels {y.tolist()}")

# prints:
#   epoch 1: [ 2.3 -1.1] [-0.9  2.9] labels [1, 0]
#   epoch 1: [-1.2  3.1] [-0.5  2.6] labels [0, 0]
#   epoch 2: [-1.2  3.1] [-0.5  2.6] labels [0, 0]
#   epoch 2: [ 2.3 -1.1] [-0.9  2.9] labels [1, 0]

# %% [markdown]
# ## A training loop (A.7)
#
# Three epochs of two batches.

# %%
tg.manual_seed(123)
model = Network(2, 2)
optimizer = SGD(model.parameters(), lr=0.5)
losses = []
for _ in range(3):
    for x, y in loader:
        loss = ops.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(f"{loss.item():.2f}")
print("parameters:", model.size, "  losses:", *losses)
with tg.no_grad():
    p = ops.softmax(model(points)).numpy()
print("probabilities of the first class", p[:, 0].round(4))
print("right:", int((p.argmax(axis=1) == labels.numpy()).sum()), "of", len(labels))

# prints:
#   parameters: 752   losses: 0.75 0.65 0.44 0.13 0.03 0.00
#   probabilities of the first class [0.9991 0.9982 0.9949 0.0491 0.0307]
#   right: 5 of 5

# %% [markdown]
# ## How far does "the same" go?
#
# Random numbers, initial values and the order of batches are PyTorch's, for a seed; so are the defaults of layers and
# optimisers. `docs/pytorch.md` lists what differs.
#
# ## Try it
#
# Set `drop_last=False`. Which loss does the batch of one example have in the third epoch?
