from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.write_ahead_log import (
    CHECKPOINT,
    HEADER_BYTES,
    Folder,
    PowerCutError,
    Record,
    SimulatedDisk,
    WriteAheadLog,
    crash,
    encode_record,
    read_back,
    recover,
    run_bytes,
)

KEYS = ["k1", "k2", "k1", "k3", "k1", "k2", "k4", "k1", "k5", "k3"]
CHANGES = [(key, f"v{number}") for number, key in enumerate(KEYS)]


def states():
    """The state after no commit, after one, ...: the only ones that ever existed."""
    found = [{}]
    for key, value in CHANGES:
        found.append({**found[-1], key: value})
    return found


def run(power_cut_after, *, fsync, checkpoint_every, disk=None, changes=CHANGES):
    """Commit until the power fails; return the disk and the number of acknowledged commits."""
    disk = disk or SimulatedDisk(power_cut_after)
    acknowledged = 0
    try:
        log = WriteAheadLog(disk, fsync=fsync, checkpoint_every=checkpoint_every)
        for key, value in changes:
            log.commit(key, value)
            acknowledged += 1
    except PowerCutError:
        pass
    return disk, acknowledged


def twin(log):
    """Recovery written anew, slice by slice, without a checkpoint."""
    state, number = {}, 0
    while len(log) >= 16:
        length, crc = int.from_bytes(log[:4], "big"), int.from_bytes(log[4:8], "big")
        body = log[8 : 16 + length]
        if len(body) < 8 + length or zlib.crc32(log[:4] + body) != crc:
            break
        if int.from_bytes(body[:8], "big") != number + 1:
            break
        number += 1
        key, value = body[8:].decode().split("=", 1)
        state[key] = value
        log = log[16 + length :]
    return state, number, len(log)


def log_of(changes):
    return b"".join(encode_record(Record(i, key, value)) for i, (key, value) in enumerate(changes, start=1))


text = st.text(st.characters(exclude_characters="=", exclude_categories=["Cs"]), max_size=6)


@given(st.lists(st.tuples(text, st.text(max_size=8)), max_size=6), st.data())
def test_a_torn_log_recovers_to_a_prefix(changes, data):
    log = log_of(changes)
    at = data.draw(st.integers(0, len(log)))
    found = recover(log[:at])
    whole = sum(len(log_of(changes[: i + 1])) <= at for i in range(len(changes)))
    assert found.replayed == found.sequence == whole and found.state == dict(changes[:whole])
    assert (found.state, found.sequence, found.torn_bytes) == twin(log[:at])
    assert found.valid_bytes + found.torn_bytes == at


@given(st.data())
def test_a_changed_bit_ends_the_log_there(data):
    log = bytearray(log_of(CHANGES))
    bit = data.draw(st.integers(0, 8 * len(log) - 1))
    log[bit // 8] ^= 1 << bit % 8
    ends = [len(log_of(CHANGES[: i + 1])) for i in range(len(CHANGES))]
    # CRC-32 finds every single flipped bit; a flipped length is found by the checksum over other bytes.
    assert recover(bytes(log)).sequence == sum(end <= bit // 8 for end in ends)


@given(st.integers(0, 400))
def test_zeros_are_no_records(zeros):
    log = log_of(CHANGES[:3])
    assert recover(log + bytes(zeros)).sequence == 3
    assert recover(bytes(zeros)).state == {}


def test_an_old_record_is_not_taken_for_new():
    assert recover(log_of(CHANGES[:2]) + encode_record(Record(2, "k1", "old"))).sequence == 2
    assert recover(encode_record(Record(2, "k1", "v"))).sequence == 0


def test_the_format_is_the_one_described():
    data = encode_record(Record(7, "k", "v=1"))
    assert data[:4] == (5).to_bytes(4, "big") and data[8:16] == (7).to_bytes(8, "big")
    assert data[16:] == b"k=v=1" and HEADER_BYTES == 16
    assert int.from_bytes(data[4:8], "big") == zlib.crc32(data[:4] + data[8:])


EVERY = range(len(log_of(CHANGES)) * 6)


@pytest.mark.parametrize("checkpoint_every", [0, 1, 3, 100])
@pytest.mark.parametrize("reached", [0.0, 0.5, 1.0])
def test_with_fsync_no_acknowledged_commit_is_lost_at_any_byte(checkpoint_every, reached):
    history = states()
    seen = set()
    for at in EVERY:
        disk, acknowledged = run(at, fsync=True, checkpoint_every=checkpoint_every)
        found = read_back(disk.after_power_cut(reached))
        assert found.state == history[found.sequence], "a state that existed"
        # At most the one commit that was under way is there without its client knowing.
        assert acknowledged <= found.sequence <= acknowledged + 1, at
        seen.add(found.sequence - acknowledged)
        if disk.written < at:
            break
    else:
        pytest.fail("the power never held out")
    assert acknowledged == len(CHANGES)
    assert seen == ({0, 1} if reached == 1 else {0})


@pytest.mark.parametrize("checkpoint_every", [0, 1, 3])
@pytest.mark.parametrize("reached", [0.0, 0.5, 1.0])
def test_without_it_acknowledged_commits_are_lost_and_the_rest_is_a_prefix(checkpoint_every, reached):
    history = states()
    worst = 0
    for at in EVERY:
        disk, acknowledged = run(at, fsync=False, checkpoint_every=checkpoint_every)
        found = read_back(disk.after_power_cut(reached))
        assert found.state == history[found.sequence]
        worst = max(worst, acknowledged - found.sequence)
        if disk.written < at:
            break
    if reached == 1:
        assert worst == 0
    elif reached == 0:
        # A checkpoint is forced out: no more is lost than came after it.
        assert worst == (checkpoint_every or len(CHANGES))


@pytest.mark.parametrize("fsync", [True, False])
@pytest.mark.parametrize("checkpoint_every", [0, 3])
def test_a_killed_program_loses_nothing_at_any_byte(fsync, checkpoint_every):
    """The page cache is the operating system's: it outlives the program, fsync or not."""
    for at in range(run_bytes(commits=8, checkpoint_every=checkpoint_every) + 2):
        disk, acknowledged = run(at, fsync=fsync, checkpoint_every=checkpoint_every)
        assert acknowledged <= read_back(disk).sequence <= acknowledged + 1


@given(
    st.integers(0, 260),
    st.sets(st.integers(0, 40)),
    st.booleans(),
    st.sampled_from([0, 3]),
)
def test_sectors_written_out_of_order_still_leave_a_prefix(at, lost, fsync, checkpoint_every):
    disk, acknowledged = run(at, fsync=fsync, checkpoint_every=checkpoint_every)
    found = read_back(disk.after_power_cut(1.0, lost_sectors=lost, sector_bytes=8))
    assert found.state == states()[found.sequence]
    assert not fsync or found.sequence >= acknowledged


@given(st.lists(st.integers(0, 150), min_size=1, max_size=4), st.floats(0, 1), st.sampled_from([0, 2]))
def test_crash_after_crash(crashes, reached, checkpoint_every):
    """What is appended behind a torn record would be lost at the second crash: opening begins a new log."""
    disk = SimulatedDisk()
    known = []
    for round_, at in enumerate([*crashes, None]):
        disk_now = SimulatedDisk(at)
        disk_now._files = disk._files
        try:
            log = WriteAheadLog(disk_now, checkpoint_every=checkpoint_every)
            for number in range(3):
                log.commit(f"r{round_}n{number}", "paid")
                known.append(f"r{round_}n{number}")
        except PowerCutError:
            pass
        disk = disk_now.after_power_cut(reached)
        found = read_back(disk).state
        assert set(known) <= set(found)
    assert len([key for key in known if key.startswith(f"r{len(crashes)}n")]) == 3


def test_a_checkpoint_bounds_what_is_replayed_and_what_is_kept():
    disk, _ = run(None, fsync=True, checkpoint_every=3)
    found = read_back(disk)
    assert found.state == states()[-1] and found.replayed == 1
    assert json.loads(disk.read(CHECKPOINT)[HEADER_BYTES:]) == states()[9]
    log = WriteAheadLog(disk)
    assert log.state == states()[-1] and log.recovery == found
    assert log.commit("k9", "more") == 11 and read_back(disk).state["k9"] == "more"


def test_the_real_folder_does_the_same(tmp_path):
    folder = Folder(tmp_path)
    run(None, fsync=True, checkpoint_every=4, disk=folder)
    simulated, _ = run(None, fsync=True, checkpoint_every=4)
    assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT, "log.9"}
    for name in (CHECKPOINT, "log.9", "log.1"):
        assert folder.read(name) == simulated.read(name)
    folder.close()
    again = WriteAheadLog(Folder(tmp_path))
    assert again.state == states()[-1]


def test_crash_counts_keys():
    total = run_bytes()
    record = len(encode_record(Record(1, "k1", "paid")))
    result = crash(fsync=False, crash_at_byte=3 * record + 5, reached=0.5)
    assert result.acknowledged == ("k1", "k2", "k3") and result.after_kill == 3
    # Half of 3 records and 5 bytes: one record whole, the second torn.
    assert result.recovered == ("k1",) and result.lost == ("k2", "k3") and result.surprising == ()
    assert result.torn_bytes == (3 * record + 5) // 2 - record
    whole = crash(fsync=True, crash_at_byte=3 * record, reached=1)
    assert whole.acknowledged == ("k1", "k2") and whole.surprising == ("k3",) and whole.lost == ()
    assert crash(crash_at_byte=total).surprising == () and len(crash(crash_at_byte=total + 1).recovered) == 20
    assert crash(crash_at_byte=0).recovered == crash(crash_at_byte=0).acknowledged == ()
    assert len(crash(fsync=False).lost) == 20 and crash().lost == ()
    often = crash(checkpoint_every=1)
    assert often.bytes_of_checkpoints > 0 == crash().bytes_of_checkpoints and often.replayed == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode_record(Record(1, "a=b", "")), "key = 'a=b'"),
        (lambda: encode_record(Record(0, "a", "")), "sequence = 0"),
        (lambda: SimulatedDisk(-1), "power_cut_after = -1"),
        (lambda: SimulatedDisk().after_power_cut(2), "reached = 2"),
        (lambda: SimulatedDisk().after_power_cut(1, [], 0), "sector_bytes = 0"),
        (lambda: WriteAheadLog(SimulatedDisk(), checkpoint_every=-1), "checkpoint_every = -1"),
        (lambda: crash(commits=0), "commits = 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
