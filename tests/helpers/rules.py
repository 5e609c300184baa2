"""A rule of two arguments, right or with one wrong gradient, for the tests of the diagnosis."""


def samples(r):
    return [(r.normal(2, 3), r.normal(2, 3))]


def product(xp, a, b):
    y = a * b

    def grad_a(g):
        return g * b

    def grad_b(g):
        return g * a

    return y, (grad_a, grad_b)


def wrong(grad_a):
    """The product with another gradient of a, a function of g, a and b."""
    return lambda xp, a, b: (a * b, (lambda g: grad_a(g, a, b), lambda g: g * a))
