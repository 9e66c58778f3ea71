"""DeepSpeed from PyPI, used by a program that was written for GPUs and that asks DeepSpeed for everything."""

from __future__ import annotations

import json
import textwrap

import pytest
from mpi_helpers import run_mpi

pytestmark = pytest.mark.mpi
RUN = ["-m", "megatron_fugaku", "run"]
#: The same data on every layout: the mean gradient of all ranks is that of one. float32, another order of sums.
TOLERANCE = 1e-5

PROGRAM = """
    import json, sys
    import torch, torch.distributed as dist
    import deepspeed
    from deepspeed.accelerator import get_accelerator
    from deepspeed.pipe import LayerSpec, PipelineModule

    stage, pipeline, adam = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    deepspeed.init_distributed()
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.cuda.set_device(get_accelerator().current_device())
    assert get_accelerator().device_count() == size and get_accelerator().communication_backend_name() == "mpi"
    assert dist.get_backend() == "mpi" and deepspeed.comm.get_world_size() == size

    BATCH, STEPS, MICROBATCHES = 8, 6, 2

    def data(step):
        generator = torch.Generator().manual_seed(step % 2)
        return torch.randn(BATCH, 16, generator=generator), torch.randn(BATCH, 8, generator=generator)

    class Layer(torch.nn.Linear):
        def __init__(self, number, inner, outer):
            super().__init__(inner, outer)
            generator = torch.Generator().manual_seed(number)
            with torch.no_grad():
                self.weight.copy_(torch.randn(outer, inner, generator=generator) / inner ** 0.5)
                self.bias.zero_()

        def forward(self, x):
            return torch.tanh(super().forward(x))

    specs = [(0, 16, 32), (1, 32, 32), (2, 32, 32), (3, 32, 8)]
    replicas = size // pipeline
    part = BATCH // replicas
    config = {"train_batch_size": BATCH, "train_micro_batch_size_per_gpu": part // MICROBATCHES,
              "steps_per_print": 1000, "gradient_clipping": 0.5,
              "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0},
              "optimizer": {"type": "AdamW",
                            "params": {"lr": 1e-2, "weight_decay": 0.1, "torch_adam": adam == "torch"}}}
    if adam == "cpu":
        config["zero_optimization"]["offload_optimizer"] = {"device": "cpu"}
        config["zero_force_ds_cpu_optimizer"] = True
    losses = []
    if pipeline > 1:
        model = PipelineModule([LayerSpec(Layer, *spec) for spec in specs], num_stages=pipeline,
                               loss_fn=torch.nn.functional.mse_loss, partition_method="uniform")
        engine, *_ = deepspeed.initialize(model=model, config=config, model_parameters=model.parameters())
        replica = engine.grid.get_data_parallel_rank()
    else:
        model = torch.nn.Sequential(*(Layer(*spec) for spec in specs)).cuda()
        engine, *_ = deepspeed.initialize(model=model, config=config, model_parameters=model.parameters())
        replica = rank
    for step in range(STEPS):
        inputs, targets = (whole.chunk(replicas)[replica] for whole in data(step))
        micro = list(zip(inputs.chunk(MICROBATCHES), targets.chunk(MICROBATCHES)))
        if pipeline > 1:
            losses.append(engine.train_batch(iter(micro)).item())
        else:
            total = torch.zeros(1)
            for x, y in micro:
                loss = torch.nn.functional.mse_loss(engine(x.to("cuda")), y.cuda())
                engine.backward(loss)
                engine.step()
                total += loss.detach() / MICROBATCHES
            dist.all_reduce(total)
            losses.append(total.item() / size)
    if rank == 0:
        print("losses", json.dumps(losses), flush=True)
    """


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("deepspeed") / "program.py"
    path.write_text(textwrap.dedent(PROGRAM))
    return path


def train(program, num_ranks: int, *words) -> list[float]:
    done = run_mpi([*RUN, program, *map(str, words)], num_ranks, timeout_s=240, cwd=program.parent)
    assert done.returncode == 0, done.stderr[-4000:]
    [line] = [line for line in done.stdout.splitlines() if line.startswith("losses ")]
    return json.loads(line.removeprefix("losses "))


@pytest.fixture(scope="module")
def one_rank(program) -> list[float]:
    losses = train(program, 1, 0, 1, "torch")
    assert losses[-2] < losses[0] and losses[-1] < losses[1], losses  # every other step has the same data
    return losses


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_zero(program, one_rank, stage):
    assert train(program, 2, stage, 1, "torch") == pytest.approx(one_rank, rel=TOLERANCE)


@pytest.mark.parametrize("stage", [0, 1])
def test_pipeline(program, one_rank, stage):
    assert train(program, 4, stage, 2, "torch") == pytest.approx(one_rank, rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_its_own_adam_for_cpus(program, one_rank):
    """DeepSpeed compiles it on first use; it computes in other steps than torch's."""
    assert train(program, 2, 1, 1, "cpu") == pytest.approx(one_rank, rel=1e-4)
