import json

from megatron_fugaku.commands import doctor as command
from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.launch import doctor
from megatron_fugaku.launch.doctor import Finding, Supported, examine, is_training_possible, render_findings


def test_this_machine_is_described():
    findings = {finding.what: finding for finding in examine((doctor.probe_processor, doctor.probe_memory))}
    for what in ("processor", "instruction sets", "cores", "memory", "huge pages", "/dev/shm", "disk here"):
        assert findings[what].value, what
    assert all(finding.advice for finding in findings.values() if finding.status != "ok")


def test_an_emulated_arm_is_not_taken_for_its_host(monkeypatch):
    monkeypatch.setattr(doctor.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(doctor, "find_instruction_sets", lambda machine, flags: ["asimd", "sve"])
    monkeypatch.setattr(doctor, "read_cpu_facts", lambda: {"model name": "Some x86", "flags": "avx2 fma"})
    findings = {finding.what: finding for finding in doctor.probe_processor()}
    assert findings["processor"].value == "Arm, emulated on Some x86" and findings["processor"].status == "note"
    assert findings["instruction sets"].value == "asimd sve" and findings["instruction sets"].status == "ok"
    monkeypatch.setattr(doctor, "read_cpu_facts", lambda: {"CPU implementer": "0x46", "CPU part": "0x001"})
    findings = {finding.what: finding for finding in doctor.probe_processor()}
    assert findings["processor"].value == "Fujitsu A64FX" and findings["processor"].status == "ok"


def test_a_probe_that_fails_does_not_silence_the_others():
    def probe_broken():
        yield Finding("first", "fine")
        raise ValueError("strange machine")

    def probe_good():
        yield Finding("second", "fine")

    findings = examine((probe_broken, probe_good))
    assert [finding.what for finding in findings][-1] == "second"
    assert any(finding.value == "could not be examined" and "strange machine" in finding.advice for finding in findings)


def test_no_torch_is_loaded_where_it_would_end_the_process(monkeypatch):
    def refuse():
        raise EnvironmentError("this processor is older than Armv8.1", "x", "use a newer one")

    monkeypatch.setattr(doctor, "check_processor", refuse)
    findings = {finding.what: finding for finding in examine()}
    assert findings["torch"].needed and findings["torch"].status == "missing"
    assert "older than Armv8.1" in findings["torch"].advice
    assert "processor" in findings and "memory" in findings
    assert not {"MPI backend", "kernels", "torch build", "patches"} & findings.keys()


def test_only_what_is_needed_prevents_training():
    assert is_training_possible([Finding("a", "b", "missing"), Finding("c", "d", "note", needed=True)])
    missing = [Finding("a", "b"), Finding("MPI backend", "not built", "missing", "build it", needed=True)]
    assert not is_training_possible(missing)
    lines = render_findings(missing).splitlines()
    assert lines[1:] == ["missing  MPI backend  not built", "                      -> build it",
                         "Training is not possible yet: MPI backend"]


def test_versions_of_packages(monkeypatch):
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "0.17.0rc1")
    package = Supported("megatron-core", (0, 16), (0, 17), "0.16.1")
    found = doctor._probe_package(package)
    assert found.status == "missing" and found.needed and "pip install 'megatron-core>=0.16,<0.17'" in found.advice
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "0.16.1+local")
    assert doctor._probe_package(package).status == "ok"


def test_a_package_that_is_absent():
    needed = doctor._probe_package(Supported("no-such-package-here", (1,), (2,), "1"))
    extra = doctor._probe_package(Supported("no-such-package-here", (1,), (2,), "1", needed=False))
    assert needed.status == "missing" and "pip install" in needed.advice and extra.status == "note"


def test_without_mpi(monkeypatch):
    def none():
        raise EnvironmentError("no usable mpirun was found", "x", "install one")

    monkeypatch.setattr(doctor, "find_mpirun", none)
    findings = {finding.what: finding for finding in examine((doctor.probe_mpi,))}
    assert findings["mpirun"].status == "missing" and findings["mpirun"].advice == "install one"


def test_kernels_are_named_by_instruction_set():
    [found] = doctor.probe_kernels()
    assert found.status == "ok" and {"dropout: ", "reduce: "} <= {f"{name.split(':')[0]}: "
                                                                   for name in found.value.split(", ")}


def test_kernels_that_are_absent_or_refused(monkeypatch):
    from megatron_fugaku.kernels import extension

    monkeypatch.setattr(extension, "describe_kernels", lambda: [])
    [absent] = doctor.probe_kernels()
    assert (absent.value, absent.status, absent.needed) == ("not built", "note", False)

    def refuse():
        raise EnvironmentError("This CPU has no sve", "it would be illegal", "choose neon", "MFUGAKU_KERNELS")

    monkeypatch.setattr(extension, "describe_kernels", refuse)
    [refused] = doctor.probe_kernels()
    assert refused.needed and refused.status == "missing" and "has no sve" in refused.advice


def test_the_command(tmp_path, capsys, monkeypatch):
    findings = [Finding("memory", "1 GiB")]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    import argparse

    parser = argparse.ArgumentParser()
    command.configure(parser)
    path = tmp_path / "doctor.json"
    assert command.run(parser.parse_args(["--json", str(path)])) == 0
    assert "Training is possible" in capsys.readouterr().out
    assert json.loads(path.read_text()) == {"training_is_possible": True, "findings": [
        {"what": "memory", "value": "1 GiB", "status": "ok", "advice": "", "needed": False}]}
    findings.append(Finding("mpirun", "not found", "missing", "install", needed=True))
    assert command.run(parser.parse_args(["--json", "-"])) == 3
    assert json.loads(capsys.readouterr().out)["training_is_possible"] is False
