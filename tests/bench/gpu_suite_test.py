"""What the GPU suite decides without a GPU: its comparisons, time limits, options, and what it says where there is none."""

import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "bench"))
import gpu_parity  # noqa: E402
import gpu_suite  # noqa: E402


def png(values, width, kinds=(0,)):
    """A 16-bit grey PNG whose rows take the filters in turn."""
    height, above, packed = len(values) // width, bytes(2 * width), b""
    for row in range(height):
        line, kind = struct.pack(f">{width}H", *values[row * width:(row + 1) * width]), kinds[row % len(kinds)]
        packed += bytes([kind])
        for i, value in enumerate(line):
            left, corner = (line[i - 2], above[i - 2]) if i >= 2 else (0, 0)
            p = left + above[i] - corner
            nearest = min((abs(p - left), 0, left), (abs(p - above[i]), 1, above[i]), (abs(p - corner), 2, corner))[2]
            packed += bytes([(value - (0, left, above[i], (left + above[i]) // 2, nearest)[kind]) & 255])
        above = line
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(packed)) + chunk(b"IEND", b""))


class Folder(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)


class Maps(Folder):
    VALUES = [(i * 7919 + i * i * 31) % 65536 for i in range(13 * 9)]

    def test_every_filter_is_undone(self):
        for kinds in ((0,), (1,), (2,), (3,), (4,), (4, 0, 3, 1, 2)):
            path = self.folder / "a.png"
            path.write_bytes(png(self.VALUES, 13, kinds))
            self.assertEqual(gpu_parity.read_map(path), self.VALUES)

    def test_differences(self):
        for name, change in (("a", 0), ("b", 300), ("c", 400)):
            (self.folder / name).mkdir()
            values = [self.VALUES[0] + change, *self.VALUES[1:]]
            (self.folder / name / "x_map.png").write_bytes(png(values, 13))
        compare = gpu_parity.compare_maps
        self.assertTrue(compare(self.folder / "b", self.folder / "a", "f32")["ok"])
        self.assertFalse(compare(self.folder / "c", self.folder / "a", "f32")["ok"])
        (self.folder / "empty").mkdir()
        self.assertFalse(compare(self.folder / "empty", self.folder / "a", "f32")["ok"])
        self.assertFalse(compare(self.folder / "empty", self.folder / "empty", "f32")["ok"])


class Losses(Folder):
    @staticmethod
    def losses(scale=1.0):
        return {name: [scale * (2.0 - step / 20) for step in range(gpu_parity.STEPS)] for name in gpu_parity.LOSSES}

    def test_what_is_near_enough(self):
        same = gpu_parity.compare_losses(self.losses(), self.losses())
        self.assertEqual([row["difference"] for row in same], [0.0, 0.0])
        self.assertTrue(all(row["ok"] for row in gpu_parity.compare_losses(self.losses(1.0001), self.losses())))
        self.assertEqual([row["ok"] for row in gpu_parity.compare_losses(self.losses(1.01), self.losses())], [False, True])
        self.assertEqual([row["ok"] for row in gpu_parity.compare_losses(self.losses(1.2), self.losses())], [False, False])

    def test_not_a_number_is_never_near(self):
        for value in (float("nan"), float("inf"), None):
            actual = self.losses()
            actual["focal"][7] = value
            self.assertFalse(gpu_parity.compare_losses(actual, self.losses())[1]["ok"])

    def test_all_steps_must_be_there(self):
        path = self.folder / "training.jsonl"
        record = dict.fromkeys(gpu_parity.LOSSES, 1.0)
        lines = [json.dumps({**record, "step": step}) for step in range(1, gpu_parity.STEPS + 1)]
        path.write_text("\n".join(lines) + "\n")
        self.assertEqual(len(gpu_parity.read_losses(path)["cosine"]), gpu_parity.STEPS)
        path.write_text("\n".join(lines[:-1]) + "\n")
        self.assertRaises(ValueError, gpu_parity.read_losses, path)


class Scores(Folder):
    def test_errors_are_no_scores(self):
        path = self.folder / "predictions.json"
        path.write_text(json.dumps({"pictures": [{"path": "a/b/c.png", "raw_score": 2.0, "error": None}]}))
        self.assertEqual(gpu_parity.read_scores(path), {"b/c.png": 2.0})
        path.write_text(json.dumps({"pictures": [{"path": "c.png", "raw_score": None, "error": "broken"}]}))
        self.assertRaises(ValueError, gpu_parity.read_scores, path)

    def test_differences(self):
        expected = {"a": 1.0, "b": 3.0}
        self.assertTrue(gpu_parity.compare_scores({"a": 1.001, "b": 3.0}, expected, "f32")["ok"])
        self.assertFalse(gpu_parity.compare_scores({"a": 1.01, "b": 3.0}, expected, "f32")["ok"])
        self.assertTrue(gpu_parity.compare_scores({"a": 1.01, "b": 3.0}, expected, "bf16")["ok"])
        self.assertFalse(gpu_parity.compare_scores({"a": 1.0}, expected, "f32")["ok"])


class Parts(unittest.TestCase):
    def test_a_part_ends_with_its_time(self):
        commands = gpu_suite.Commands(0.3)
        with self.assertRaisesRegex(gpu_suite.PartFailed, "out of time"):
            commands.run(["sh", "-c", "echo before; sleep 60 & wait"])
        self.assertIn("before", commands.output)

    def test_a_command_that_fails_is_named(self):
        with self.assertRaisesRegex(gpu_suite.PartFailed, "ended with 3: last words"):
            gpu_suite.Commands(10).run(["sh", "-c", "echo first; echo last words; exit 3"])
        self.assertEqual(gpu_suite.Commands(10).run(["sh", "-c", "exit 3"], allowed=(0, 3)), "")

    def test_limits_fit_eight_minutes(self):
        self.assertLess(gpu_suite.TOTAL_SECONDS, 480)
        for parts in (list(gpu_suite.PARTS), ["tests", "parity"], ["twin"]):
            limits = gpu_suite.limits_of(parts)
            self.assertEqual(list(limits), parts)
            self.assertAlmostEqual(sum(limits.values()), gpu_suite.TOTAL_SECONDS)


class Graphs(unittest.TestCase):
    def test_the_case_without_graphs_is_found(self):
        self.assertEqual(gpu_suite.without_graph("pipelines/inspection/head_s/256/bf16/b1/cuda:0"),
                         "pipelines/inspection/head_s/256/no_graph/bf16/b1/cuda:0")


class Sanitizers(unittest.TestCase):
    @unittest.skipUnless("DDPMTS_KERNEL_TESTS" in os.environ, "needs a program of the kernel tests")
    def test_every_pattern_finds_tests(self):
        for pattern in gpu_suite.SMALL_TESTS:
            listed = subprocess.run([os.environ["DDPMTS_KERNEL_TESTS"], "--gtest_list_tests", "--gtest_filter=" + pattern],
                                    capture_output=True, text=True, check=True).stdout
            self.assertRegex(listed, r"\n  \w", pattern)


class CommandLine(Folder):
    def suite(self, *arguments, path=None):
        environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
        if path is not None:
            environment["PATH"] = path
        return subprocess.run([sys.executable, ROOT / "bench" / "gpu_suite.py", *arguments], capture_output=True, text=True,
                              env=environment)

    def expect_refusal(self, found, what):
        self.assertEqual(found.returncode, 2, found.stderr)
        self.assertIn(what, found.stderr)
        self.assertEqual(found.stdout, "")

    def fake_driver(self, script):
        tool = self.folder / "nvidia-smi"
        tool.write_text("#!/bin/sh\n" + script)
        tool.chmod(0o755)
        return f"{self.folder}:/usr/bin:/bin"

    def test_without_a_gpu_one_line_says_so(self):
        found = self.suite(path=str(self.folder))
        self.expect_refusal(found, "no GPU to run on: there is no nvidia-smi")
        self.assertEqual(found.stderr.count("\n"), 1)
        found = self.suite(path=self.fake_driver("echo No devices were found; exit 6"))
        self.expect_refusal(found, "nvidia-smi says: No devices were found")
        self.assertEqual(found.stderr.count("\n"), 1)

    def test_a_program_that_cannot_use_the_gpu_is_named(self):
        build = self.folder / "build"
        build.mkdir()
        program = build / "ddpmts"
        program.write_text("#!/bin/sh\necho 'cuda       not in this build'\n")
        program.chmod(0o755)
        found = self.suite("--build", str(build), path=self.fake_driver("echo 'NVIDIA X1, 600.1'"))
        self.expect_refusal(found, "says: not in this build")

    def test_wrong_calls(self):
        self.expect_refusal(self.suite("--parts", "tests,nothing"), "'nothing' is not one of")
        self.expect_refusal(self.suite("--devices", "cpu"), "expected two")
        self.expect_refusal(self.suite("--data", str(self.folder / "absent")), "no such folder")
        self.expect_refusal(self.suite("--parts", "parity", "--devices", "cpu,cpu", "--build", str(self.folder)),
                            "no program `ddpmts`")


if __name__ == "__main__":
    unittest.main()
