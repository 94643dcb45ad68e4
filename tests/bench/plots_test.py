"""Plots of made-up results: what is drawn, what is left blank, what is refused."""

import json
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "bench"))
import plots  # noqa: E402


def row(name, seconds=1e-3, **more):
    """A row as the program writes it; name: group/what/…/precision/batch/device."""
    parts = name.split("/")
    axes = {"precision": parts[-3], "batch": parts[-2][1:], **more.pop("axes", {})}
    samples = 10 if seconds else 0
    return {"name": name, "group": parts[0], "device": parts[-1], "axes": axes, "status": "ok" if seconds else "SKIP",
            "hot": {"samples": samples, "median_s": seconds}, "pictures": 0, "roof": "", "roof_share": 0, **more}


def results(rows, processor="one", **more):
    return {"schema": "ddpmts_bench", "version": 1, "machine": {"processor": processor, "commit": "0123456789abcdef"},
            "warnings": [], "rows": rows, **more}


def inspection(size, batch, seconds, precision="bf16", **more):
    return row(f"pipelines/inspection/head_s/{size}/{precision}/b{batch}/cpu", seconds,
               axes={"head": "s", "size": str(size)}, pictures=batch, **more)


def conv(name, which, seconds, alone, networks):
    return row(f"convs/detector256/{name}/{which}/bf16/b8/cpu", seconds, axes={"pass": which}, networks=networks,
               onednn={"samples": 10, "median_s": alone}, roof="product", roof_share=0.7)


def words_of(svg):
    """Every text of a plot; the plot must be well-formed."""
    return [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


class Plots(unittest.TestCase):
    def test_nothing_is_drawn_of_nothing(self):
        drawn = plots.plots_of([results([inspection(256, 8, 0.0)])])
        self.assertEqual([name for name, svg in drawn.items() if svg], [])

    def test_roofs_have_a_mark_for_each_shape(self):
        rows = [row(f"kernels/add_up/odd/{i}x1x1/{p}/b8/cpu", roof="copy", roof_share=0.25 * i)
                for i in (1, 2, 3) for p in ("bf16", "f32")]
        rows.append(row("kernels/add_up/odd/9x9x9/f32/b8/cpu", 0.0, roof="copy", roof_share=0.5))
        svg = plots.plots_of([results([*rows, conv("a", "forward", 1.0, 1.0, {})])])["roofs.svg"]
        self.assertEqual(svg.count("<circle"), 6 + 2, "two of them in the key; the skipped row has none")
        words = words_of(svg)
        self.assertIn("add up", words)
        self.assertIn("convolution forward", words)
        self.assertIn("one; commit 0123456789ab", words)

    def test_parts_of_a_pipeline(self):
        split = [{"name": f"part_{i}", "calls": 1, "seconds": 0.2 / 2 ** i} for i in range(9)]
        drawn = plots.plots_of([results([inspection(256, 8, 0.4, parts=split), inspection(256, 1, 0.1)])])
        words = words_of(drawn["pipelines.svg"])
        self.assertIn("inspection, head s, 256 px, batch 8, bf16", words)
        self.assertNotIn("inspection, head s, 256 px, batch 1, bf16", words, "its parts were not measured")
        self.assertIn("part 0", words)
        self.assertIn("everything else", words)
        self.assertNotIn("part 8", words)
        self.assertIn("50 %", words)
        self.assertIn("400 ms", words)

    def test_sweeps_need_several_values(self):
        one = [inspection(256, 1, 0.01), inspection(256, 8, 0.04)]
        drawn = plots.plots_of([results(one)])
        self.assertIn("inspection, head s, 256 px, bf16", words_of(drawn["batches.svg"]))
        self.assertIsNone(drawn["sizes.svg"])
        drawn = plots.plots_of([results(one), results([inspection(512, 8, 0.2)])])
        self.assertIn("inspection, head s, batch 8, bf16", words_of(drawn["sizes.svg"]), "of two files together")
        self.assertEqual(plots.swept([results(one)], "batch"), {"inspection, head s, 256 px, bf16": {1: 10.0, 8: 5.0}})

    def test_the_later_file_counts_where_it_has_the_same(self):
        files = [results([inspection(256, 1, 0.01), inspection(256, 8, 0.04)]), results([inspection(256, 8, 0.08)])]
        self.assertEqual(plots.swept(files, "batch"), {"inspection, head s, 256 px, bf16": {1: 10.0, 8: 10.0}})

    def test_ratios_leave_blank_what_was_not_measured(self):
        rows = [inspection(256, 8, 0.1), inspection(256, 8, 0.2, "f32"), inspection(256, 1, 0.1)]
        entries = [{"name": rows[0]["name"], "best": "compile", "ratio": 1.5}, {"name": rows[1]["name"], "best": "jit", "ratio": 2.0},
                   {"name": rows[2]["name"], "best": "eager", "ratio": 3.0}]
        words = words_of(plots.plots_of([results(rows, ratios=entries)])["ratios.svg"])
        for expected in ("1.50 (compile)", "2.00 (jit)", "3.00 (eager)"):
            self.assertIn(expected, words)
        self.assertEqual(sum(word.startswith("inspection") for word in words), 2, "a line for each batch")
        self.assertEqual(sum(word.endswith(")") for word in words), 3, "no f32 of batch 1")
        self.assertIsNone(plots.plots_of([results(rows, ratios=entries)])["batches.svg"], "medians of rounds are for the ratios alone")

    def test_convolutions_are_summed_up_by_network(self):
        rows = [conv("a", "forward", 2.0, 1.0, {"teacher/256": 3, "student/256": 1}), conv("b", "forward", 1.0, 1.0, {"student/256": 2}),
                conv("a", "data_gradient", 4.0, 3.0, {"student/256": 1})]
        words = words_of(plots.plots_of([results(rows)])["onednn.svg"])
        self.assertLess(words.index("student, 256 px, batch 8, forward"), words.index("student, 256 px, batch 8, data gradient"))
        at = {label: words[words.index(label) + 1] for label in words if label.startswith(("teacher", "student"))}
        self.assertEqual(at, {"teacher, 256 px, batch 8, forward": "50 %", "student, 256 px, batch 8, forward": "75 %",
                              "student, 256 px, batch 8, data gradient": "75 %"})

    def test_files_of_two_machines_are_refused(self):
        with self.assertRaises(SystemExit) as refused:
            plots.plots_of([results([]), results([], processor="another")])
        self.assertIn("2 machines", str(refused.exception))


class Program(unittest.TestCase):
    def run_plots(self, folder, *texts):
        files = []
        for i, text in enumerate(texts):
            files.append(Path(folder) / f"{i}.json")
            files[-1].write_text(text)
        out = Path(folder) / "plots"
        finished = subprocess.run([sys.executable, "-S", "-B", str(ROOT / "bench" / "plots.py"), "--out", str(out), *map(str, files)],
                                  capture_output=True, text=True, check=False)
        return finished, sorted(path.name for path in out.glob("*")) if out.exists() else []

    def test_writes_what_it_says(self):
        with tempfile.TemporaryDirectory() as folder:
            finished, written = self.run_plots(folder, json.dumps(results([inspection(256, 1, 0.01), inspection(256, 8, 0.04)])))
            self.assertEqual(finished.returncode, 0, finished.stderr)
            self.assertEqual(written, ["batches.svg"])
            self.assertIn("batches.svg", finished.stdout)

    def test_bad_files_are_refused(self):
        good = json.dumps(results([inspection(256, 1, 0.01)]))
        for text, reason in ((good[:40], "0.json"), ("[]", "not version 1"), (good.replace('"version": 1', '"version": 2'), "not version 1"),
                             (good, "nothing was measured")):
            with tempfile.TemporaryDirectory() as folder:
                finished, written = self.run_plots(folder, text)
                self.assertEqual(finished.returncode, 1, text)
                self.assertIn(reason, finished.stderr)
                self.assertEqual(finished.stderr.count("\n"), 1, finished.stderr)
                self.assertEqual(written, [])


if __name__ == "__main__":
    unittest.main()
