"""What ran, where; and where the first number that is not finite was born."""

import inspect
import threading

import numpy as np
import pytest

from minivl import AnomalyError, Tensor, detect_anomaly, nn, ops, trace


def line():
    return inspect.currentframe().f_back.f_lineno


# ---- trace -----------------------------------------------------------------------------------------------------------


def hidden_layer(x):
    return (x @ np.ones((3, 4), np.float32)).relu()


def test_ops_are_recorded_in_order():
    x = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    with trace() as ran:
        y, here = hidden_layer(x) + 1, line()
    ops.exp(y)  # outside
    y.sum().backward()
    assert [r.op for r in ran] == ["matmul", "relu", "add"]
    product, _, added = ran
    assert product.inputs == ((2, 3), None) and product.output == (2, 4) and product.dtype == "float32"
    assert product.bytes == 2 * 4 * 4 and product.seconds >= 0
    assert product.file.endswith("test_trace.py") and product.scope[-1] == "hidden_layer"
    assert added.line == here and added.scope[-1] == "test_ops_are_recorded_in_order"


def test_a_layer_is_where_an_op_was_called():
    block = nn.Block(4, 2, 8, np.random.default_rng(0))
    with trace() as ran:
        block(Tensor(np.ones((1, 3, 4), np.float32)))
    attention = next(r for r in ran if r.op == "attention")
    assert attention.file.replace("\\", "/") == "minivl/nn/attention.py"
    names = [s.rpartition(".")[2] for s in attention.scope]
    assert names.index("test_a_layer_is_where_an_op_was_called") < names.index("forward")
    assert {r.op for r in ran} == {"layernorm", "linear", "reshape", "transpose", "attention", "add", "gelu"}


def test_private_ops_go_by_their_public_name(random):
    x = Tensor(np.ones(3))
    with trace() as ran:
        ops.dropout(ops.cat([x, x]), p=0.5, random=random)
    assert [r.op for r in ran] == ["cat", "dropout"]


def test_table():
    with trace() as ran:
        x = Tensor(np.ones((100, 100), np.float32))
        for _ in range(3):
            x = x * 2
        x.sum()
    lines = ran.table().splitlines()
    assert lines[0].split() == ["op", "calls", "ms", "MB"] and len(lines) == 3
    mul = next(row for row in lines if row.startswith("mul")).split()
    assert mul[1] == "3" and mul[3] == "0.12"
    times = [float(row.split()[2]) for row in lines[1:]]
    assert times == sorted(times, reverse=True)


def test_an_op_that_fails_leaves_the_trace_in_order():
    x = Tensor(np.ones(3))
    with trace() as ran:
        with pytest.raises(ValueError):
            ops.matmul(x, Tensor(np.ones(4)))
        x + 1
    assert [r.op for r in ran] == ["add"] and ran[0].seconds < 0.5


def test_traces_nest_and_end():
    x = Tensor(np.ones(3))
    with trace() as outer:
        x + 1
        with trace() as inner:
            x * 2
    x - 1
    assert [r.op for r in outer] == ["add", "mul"] and [r.op for r in inner] == ["mul"]


def test_a_trace_is_of_one_thread():
    x = Tensor(np.ones(3))
    with trace() as ran:
        thread = threading.Thread(target=lambda: x + 1)
        thread.start()
        thread.join()
    assert not ran


# ---- detect_anomaly --------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def test_finite_numbers_pass():
    x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    with detect_anomaly():
        ops.log(x).sum().backward()
    assert x.grad.tolist() == [1, 0.5]


def test_forward_names_op_file_line_and_tensor():
    x = Tensor(np.array([[1.0, 2.0], [3.0, -1.0]]), requires_grad=True)
    with pytest.raises(AnomalyError) as caught, detect_anomaly():
        here = line() + 1
        ops.sqrt(x)
    message = str(caught.value)
    assert message.startswith("forward: sqrt at ")
    assert f"test_trace.py:{here} in test_forward_names_op_file_line_and_tensor" in message
    assert "made NaN at index (1, 1) in its output (2, 2) out of finite inputs ((2, 2))" in message


def test_infinity_in_a_single_number():
    words = r"forward: exp at .* made infinity at index \(\) in its output \(\)"
    with pytest.raises(AnomalyError, match=words), detect_anomaly():
        ops.exp(Tensor(1e3))


def test_backward_names_op_file_line_and_tensor():
    x = Tensor(np.array([4.0, 0.0]), requires_grad=True)
    with pytest.raises(AnomalyError) as caught, detect_anomaly():
        here = line() + 1
        y = ops.sqrt(x * 1)
        y.sum().backward()
    message = str(caught.value)
    assert message.startswith("backward: sqrt at ") and f"test_trace.py:{here} in " in message
    assert "gave infinity at index (1,) as the gradient of its input (2,), the output of mul at " in message


def test_backward_of_what_was_computed_outside():
    y = ops.sqrt(Tensor(np.array([0.0]), requires_grad=True)).sum()
    with pytest.raises(AnomalyError, match=r"sqrt at an unknown line .*gave infinity .* a leaf"), detect_anomaly():
        y.backward()


def test_inside_a_model_the_layer_is_named():
    layer = nn.MLP(3, 4, np.random.default_rng(0))
    layer.up.weight.data[1, 2] = np.nan
    x = Tensor(np.ones((2, 3), np.float32))
    with detect_anomaly():
        layer(x)  # a weight that is broken already is let pass: nothing finite went in
    layer.up.weight.data[1, 2] = 3e38
    with (
        pytest.raises(AnomalyError, match=r"forward: linear at minivl.nn.layers.py:\d+ in .*forward"),
        detect_anomaly(),
    ):
        layer(x * 3)


def test_infinite_constants_are_let_pass():
    x = Tensor(np.array([1.0, 2.0]))
    with detect_anomaly():
        hidden = ops.where(np.array([True, False]), x, -np.inf)
        ops.softmax(hidden)
        x * np.array([np.inf, 1.0])


def test_integers_are_let_pass():
    with detect_anomaly():
        ops.reshape(Tensor([1, 2, 3, 4]), shape=(2, 2))


def test_nothing_is_watched_outside():
    with pytest.raises(AnomalyError), detect_anomaly():
        ops.log(Tensor(0.0))
    ops.log(Tensor(0.0))
