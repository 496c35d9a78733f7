"""A program that takes too much. It is stopped at its limit, and the result says which."""

import time

import pytest

from atom.skills.sandbox.canaries.host import living
from atom.skills.sandbox.models import MIB, ExitReason, Guarantee, Language, Level, Limits
from tests.skills.sandbox.conftest import Box

SMALL = Limits(memory=128 * MIB, seconds=15, pids=16, output=100_000, disk=4 * MIB)


async def test_15_four_gigabytes_are_not_to_be_had(box: Box) -> None:
    grow = "held = []\nfor _ in range(64):\n    held.append(b'x' * (64 << 20))\n    print(len(held), flush=True)"
    done = await box.run(grow, limits=Limits(memory=256 * MIB, seconds=15))
    assert done.reason is ExitReason.OOM, (done.detail, done.stderr)
    assert len(done.stdout.split()) <= 4


async def test_15_nor_in_pieces_by_several_processes(box: Box) -> None:
    done = await box.run(
        "import os, time\n"
        "children = [pid for pid in (os.fork() for _ in range(3))]\n"
        "held = b'x' * (96 << 20)\ntime.sleep(6)\n"
        "print('all held', flush=True)\n",
        limits=Limits(memory=128 * MIB, seconds=60, pids=16),
    )
    assert done.reason is ExitReason.OOM, (done.detail, done.stderr)
    assert done.stdout.count(b"all held") < 8


async def test_15_a_child_that_was_ended_for_memory_is_told_though_its_parent_goes_on(box: Box) -> None:
    done = await box.run(
        "import os\npid = os.fork()\nif pid == 0:\n    held = bytearray(b'x') * (512 << 20)\n    os._exit(0)\n"
        "os.waitpid(pid, 0)\nprint('went on', flush=True)\n",
        limits=Limits(memory=128 * MIB, seconds=60),
    )
    assert done.stdout == b"went on\n"
    # Without a group the child is told by its own limit, and may cope with it.
    assert done.reason is (ExitReason.OOM if box.grouped else ExitReason.OK), (done.detail, done.stderr)


async def test_16_a_fork_storm_stops_at_the_limit(box: Box) -> None:
    done = await box.run(
        "import os, time\nfor _ in range(1500):\n    if os.fork() == 0:\n        time.sleep(5)\n        os._exit(0)\n"
        "    os.write(1, b'.')\n",
        limits=SMALL,
    )
    assert done.reason is ExitReason.PIDS, (done.detail, done.stderr)
    assert len(done.stdout) <= SMALL.pids


async def test_16_children_that_fork_without_end_are_all_ended(box: Box) -> None:
    bomb = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    done = await box.run(bomb, limits=Limits(seconds=1, pids=16, memory=256 * MIB))
    assert done.reason is ExitReason.TIMEOUT
    assert (await box.run("print(1)")).reason is ExitReason.OK


async def test_17_one_file_does_not_outgrow_the_disk(box: Box) -> None:
    done = await box.run(
        "import os\nfile = os.open('big', os.O_CREAT | os.O_WRONLY)\nfor _ in range(64):\n"
        "    size = os.write(file, bytes(1 << 20))\n    os.write(1, b'.')\n"
        "    assert size == 1 << 20, 'No space left on device'",
        limits=SMALL,
    )
    assert done.reason is ExitReason.DISK, (done.detail, done.stderr)
    assert len(done.stdout) <= 4


async def test_18_nor_do_many_small_ones(box: Box) -> None:
    done = await box.run(
        "import time\nfor number in range(100_000):\n    with open(str(number), 'w') as file:\n"
        "        file.write('x' * 200)\ntime.sleep(10)",
        limits=SMALL,
    )
    assert done.reason is ExitReason.DISK, (done.detail, done.stderr)


async def test_18_nor_is_there_room_for_any_number_of_empty_ones(box: Box) -> None:
    done = await box.run(
        "import time\nfor number in range(60_000):\n    with open(str(number), 'w'):\n        pass\ntime.sleep(10)",
        limits=Limits(seconds=15),
    )
    assert done.reason is ExitReason.DISK, (done.detail, done.stderr)


async def test_19_shared_memory_is_part_of_the_disk_and_anonymous_files_are_not_there(box: Box) -> None:
    found = await box.run(
        "import os\ntry:\n    file = open('/dev/shm/x', 'wb')\n"
        "except OSError as error:\n    raise SystemExit(error.errno)\n"
        "for _ in range(64):\n    file.write(bytes(1 << 20))\n    file.flush()",
        limits=SMALL,
    )
    assert found.reason in {ExitReason.DISK, ExitReason.ERROR}, found.detail
    if found.reason is ExitReason.ERROR:
        assert found.exit_code == 13, "permission denied"


async def test_20_a_daemon_in_a_session_of_its_own_ends_with_the_program(box: Box) -> None:
    marker = f"daemon-{time.monotonic_ns()}"
    source = (
        "import os, sys, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        f"        os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(60)', '{marker}'])\n"
        "    os._exit(0)\nos.wait()\n"
    )
    done = await box.run(source + "time.sleep(60)", limits=Limits(seconds=1))
    assert done.reason is ExitReason.TIMEOUT
    assert living(marker) == []
    done = await box.run(source + "time.sleep(0.2)")
    assert done.reason is ExitReason.OK
    assert living(marker) == []


@pytest.mark.parametrize(
    "source",
    [
        "import signal, time\nfor n in (1, 2, 3, 13, 14, 15):\n    signal.signal(n, signal.SIG_IGN)\ntime.sleep(60)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        "while True: pass",
        "import time\ntime.sleep(60)",
        "import os\nos.close(1)\nos.close(2)\nos.close(3)\nwhile True: pass",
    ],
    ids=["21 ignores signals", "21 stops itself", "23 busy", "23 sleeps", "23 closes its pipes"],
)
async def test_21_23_nothing_outlasts_the_time_limit(box: Box, source: str) -> None:
    done = await box.run(source, limits=Limits(seconds=0.8))
    assert done.reason is ExitReason.TIMEOUT
    assert "0.8 s" in done.detail


async def test_22_a_gigabyte_of_output_is_cut_at_the_limit(box: Box) -> None:
    source = "import os\nfor _ in range(1 << 14):\n    os.write(1, b'x' * 65536)"
    done = await box.run(source, limits=SMALL)
    assert done.reason is ExitReason.OUTPUT
    assert len(done.stdout) == SMALL.output


async def test_22_errors_count_as_output(box: Box) -> None:
    done = await box.run("import os\nfor _ in range(1 << 14):\n    os.write(2, b'x' * 65536)", limits=SMALL)
    assert done.reason is ExitReason.OUTPUT
    assert len(done.stderr) == SMALL.output


async def test_an_amount_that_is_enforced_was_never_passed(box: Box) -> None:
    """What the canaries found holds for another program, too."""
    if box.report.level(Guarantee.FS_WRITE_QUOTA) is not Level.ENFORCED:
        pytest.skip("this backend only watches the disk")
    done = await box.run(
        "import os\nos.mkdir('many')\nfor number in range(100):\n    with open(f'many/{number}', 'wb') as file:\n"
        "        file.write(bytes(1 << 18))\n    os.write(1, b'.')",
        limits=SMALL,
    )
    assert done.reason is ExitReason.DISK
    assert len(done.stdout) <= SMALL.disk >> 18


async def test_node_is_bounded_like_the_others(box: Box) -> None:
    if Language.NODE not in box.sandbox.interpreters:
        pytest.skip("there is no node")
    grow = "const held = []; for (;;) held.push(Buffer.alloc(16 << 20, 1));"
    done = await box.run(grow, language=Language.NODE, limits=Limits(memory=256 * MIB, seconds=20))
    assert done.reason is ExitReason.OOM, (done.detail, done.stderr)
