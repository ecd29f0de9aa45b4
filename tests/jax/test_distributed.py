"""jax.distributed beside MPI: params over devices of several processes are refused, others averaged."""

from tests.support import launch

DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}


def test_params_over_several_processes_are_refused_with_the_cure_before_any_step():
    for said in launch.run(2, "jax.distributed:over_processes", limit=90, env=DEVICES):
        for how, text in said.items():
            if how.endswith("steps"):
                assert text == 0, how
            else:
                assert text.startswith("ValueError: "), how
                assert "devices of other processes" in text, how
                assert "a rank averages what its own process holds: pass addressable_data(0)" in text, how
        assert len(said) == 20


def test_params_of_one_process_are_averaged_where_there_are_others():
    assert launch.run(2, "jax.distributed:within_processes", limit=90, env=DEVICES) == [[], []]
