"""Checks of the twin itself: python -m unittest discover bench/twins. Needs torch, numpy and safetensors.

DDPMTS_TEACHER and DDPMTS_TEACHER_FIXTURE (optional): a ResNet-18 safetensors file, and one with `input`, `layer1`,
`layer2` and `layer3`, to hold the teacher against.
"""

import os
import tempfile
import unittest

import numpy as np
import torch

import detector
import networks
import philox
import triplet


class PhiloxTest(unittest.TestCase):
    def test_random123_vectors(self):
        zero = philox.philox4x32_10((0, 0, 0, 0), 0, 0)[0]
        self.assertEqual([f"{w:08x}" for w in zero], ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"])
        ones = philox.philox4x32_10((0xFFFFFFFF,) * 4, 0xFFFFFFFF, 0xFFFFFFFF)[0]
        self.assertEqual([f"{w:08x}" for w in ones], ["408f276d", "41c83b0e", "a20bc7c6", "6d5451fd"])
        pi = philox.philox4x32_10((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), 0xA4093822, 0x299F31D0)[0]
        self.assertEqual([f"{w:08x}" for w in pi], ["d16cfe09", "94fdcceb", "5001e420", "24126ea1"])

    def test_chunks_agree_with_single_blocks(self):
        seed, step = 0x123456789ABCDEF0, (5 << 32) | 9
        many = philox.words(seed, 7, step, 4 * (1 << 16) + 6)
        for element in (0, 65535, 65536):
            one = philox.philox4x32_10((element, 7, step & 0xFFFFFFFF, step >> 32), seed & 0xFFFFFFFF, seed >> 32)[0]
            np.testing.assert_array_equal(many[4 * element:4 * element + 4], one)


class NetworksTest(unittest.TestCase):
    def test_parameter_counts(self):
        def millions(module):
            return round(sum(p.numel() for p in module.parameters()) / 1e6, 2)

        # arXiv 2211.11317's networks: 2.78 M used of the teacher, 24.67 M, 7.71 M.
        self.assertEqual(millions(networks.Teacher(folded=False)), 2.78)
        self.assertEqual(millions(networks.Student()), 24.67)
        self.assertEqual(millions(networks.SegmentationHead(256)), 7.71)

    def test_names_and_order(self):
        names = [n for _, n, _ in networks.trainable_parameters(networks.Student(), networks.SegmentationHead(64))]
        self.assertEqual(len(names), 152)
        self.assertEqual(names[:3], ["encoder.conv1.weight", "encoder.bn1.weight", "encoder.bn1.bias"])
        at = names.index("encoder.layer2.0.conv1.weight")
        self.assertEqual(names[at:at + 9:3], ["encoder.layer2.0.conv1.weight", "encoder.layer2.0.conv2.weight",
                                              "encoder.layer2.0.downsample.0.weight"])
        self.assertLess(names.index("decoder.layer4.0.conv1.weight"), names.index("decoder.layer1.0.conv1.weight"))
        self.assertEqual(names[-2:], ["classifier.conv2.weight", "classifier.conv2.bias"])

    def test_initialise_draws_the_documented_numbers(self):
        student, head = networks.Student(), networks.SegmentationHead(64)
        networks.initialise(student, head, seed=3)
        step = [n for _, n, _ in networks.trainable_parameters(student, head)].index("encoder.layer1.0.conv1.weight")
        word = philox.philox4x32_10((25, philox.STREAM_WEIGHTS, step, 0), 3, 0)[0][1]
        bound = np.sqrt(np.float32(6) / np.float32(64 * 9))
        want = (2.0 * float(word >> 8) * 2.0**-24 - 1.0) * float(bound)
        self.assertAlmostEqual(float(student.encoder.layer1[0].conv1.weight.detach().flatten()[101]), want, delta=1e-8)

    def test_losses_against_plain_loops(self):
        generator = torch.Generator().manual_seed(1)
        t = [torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=generator)]
        s = [torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=generator)]
        distances = [1 - float(torch.dot(t[0][n, :, i, j], s[0][n, :, i, j])
                               / t[0][n, :, i, j].norm() / s[0][n, :, i, j].norm())
                     for n in range(2) for i in range(2) for j in range(2)]
        self.assertAlmostEqual(float(networks.cosine_loss(t, s)), sum(distances) / 8, delta=1e-10)
        logits = torch.tensor([-3.0, 0.5, 2.0, 40.0], dtype=torch.float64).view(1, 1, 2, 2)
        mask = torch.tensor([0, 1, 0, 0]).view(1, 1, 2, 2)
        p = torch.sigmoid(logits)
        p_t = torch.where(mask.bool(), p, 1 - p)
        focal, l1 = networks.segmentation_losses(logits, mask)
        want = [float(-((1 - q) ** 4) * q.log()) for q in p_t.flatten()[:3]] + [40.0]
        self.assertAlmostEqual(float(focal), sum(want) / 4, delta=1e-10)
        self.assertAlmostEqual(float(l1), float((p - mask).abs().mean()), delta=1e-12)

    def test_feature_product_sums_to_the_cosine(self):
        generator = torch.Generator().manual_seed(2)
        t, s = ([torch.randn(1, c, h, h, dtype=torch.float64, generator=generator) for c, h in ((64, 8), (128, 4), (256, 2))]
                for _ in range(2))
        product = networks.feature_product(t, s)
        self.assertEqual(tuple(product.shape), (1, 448, 8, 8))
        torch.testing.assert_close(-product[:, :64].sum(1), torch.nn.functional.cosine_similarity(t[0], s[0], dim=1))
        self.assertAlmostEqual(float(-product[0, 64:192, 0, 0].sum()),
                               float(torch.nn.functional.cosine_similarity(t[1], s[1], dim=1)[0, 0, 0]), delta=1e-10)

    def test_stop_gradient(self):
        torch.manual_seed(0)
        teacher, student, head = networks.Teacher(), networks.Student(), networks.SegmentationHead(64)
        x, mask = torch.randn(2, 3, 32, 32), torch.ones(2, 1, 8, 8)
        for stop in (False, True):
            losses, _, _ = networks.joint_losses(teacher, student, head, x, x, mask, stop_gradient=stop)
            gradient = torch.autograd.grad(losses["focal"] + losses["l1"], [student.encoder.conv1.weight],
                                           allow_unused=True)[0]
            self.assertEqual(gradient is None or float(gradient.abs().max()) == 0.0, stop)

    def test_folding_keeps_the_outputs(self):
        torch.manual_seed(0)
        head = networks.SegmentationHead(64).double()
        x = torch.randn(4, 448, 8, 8, dtype=torch.float64)
        for _ in range(3):
            head(x)  # moves the running statistics away from 0 and 1
        head.eval()
        with torch.no_grad():
            want = head(x)
            torch.testing.assert_close(networks.fold_batch_norm(head)(x), want)

    def test_load_teacher_from_unfolded_file(self):
        from safetensors.torch import save_file

        torch.manual_seed(0)
        full = networks.ResNet18(stages=4)
        full(torch.randn(4, 3, 64, 64))
        tensors = {k: v for k, v in full.eval().state_dict().items() if not k.endswith("num_batches_tracked")}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "resnet18.safetensors")
            save_file(tensors, path)
            x = torch.randn(1, 3, 64, 64)
            with torch.no_grad():
                for got, want in zip(networks.load_teacher(path)(x), full(x)[:3], strict=True):
                    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
            save_file({k: v for k, v in tensors.items() if not k.startswith("layer3.")}, path)
            with self.assertRaisesRegex(RuntimeError, "layer3"):
                networks.load_teacher(path)

    @unittest.skipUnless(os.environ.get("DDPMTS_TEACHER_FIXTURE"), "DDPMTS_TEACHER_FIXTURE is not set")
    def test_teacher_against_fixture(self):
        from safetensors.torch import load_file

        fixture = load_file(os.environ["DDPMTS_TEACHER_FIXTURE"])
        teacher = networks.load_teacher(os.environ["DDPMTS_TEACHER"])
        with torch.no_grad():
            for k, got in enumerate(teacher(fixture["input"]), start=1):
                want = fixture[f"layer{k}"]
                self.assertLess(float((got - want).norm() / want.norm()), 1e-5)


class MemoryTest(unittest.TestCase):
    def test_nearest_distance_against_plain_loops(self):
        generator = torch.Generator().manual_seed(3)
        vectors = torch.rand(7, 448, generator=generator)
        features = torch.rand(2, 448, 3, 4, generator=generator)
        got = detector.FeatureMemory(vectors)(features)
        self.assertEqual(tuple(got.shape), (2, 1, 3, 4))
        for n, i, j in ((0, 0, 0), (1, 2, 3), (0, 1, 2)):
            want = min(float((features[n, :, i, j] - v).norm()) for v in vectors)
            self.assertAlmostEqual(float(got[n, 0, i, j]), want, delta=1e-3)

    def test_features_are_means_of_neighbourhoods(self):
        layers = [torch.ones(1, c, s, s) for c, s in ((64, 16), (128, 8), (256, 4))]
        features = detector.memory_features(layers)
        self.assertEqual(tuple(features.shape), (1, 448, 8, 8))
        self.assertAlmostEqual(float(features[0, 0, 4, 4]), 1.0, delta=1e-6)
        self.assertAlmostEqual(float(features[0, 64, 0, 0]), 4.0 / 9.0, delta=1e-6)  # zeros outside count
        self.assertAlmostEqual(float(features[0, 0, 0, 0]), 16.0 / 36.0, delta=1e-6)


class TripletTest(unittest.TestCase):
    def test_pictures_differ_under_the_mask_only(self):
        torch.manual_seed(5)
        pictures = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
        normal, defective, mask = triplet.triplets(pictures, 16, torch.float32)
        self.assertEqual(tuple(normal.shape), (16, 3, 64, 64))
        self.assertEqual(tuple(mask.shape), (16, 1, 64, 64))
        outside = (mask == 0).expand_as(normal)
        self.assertTrue(torch.equal(normal[outside], defective[outside]))
        self.assertGreater(int(mask.sum()), 0)
        self.assertGreater(float((normal - defective).abs()[~outside].mean()), 0.05)

    def test_noise_is_perlins(self):
        torch.manual_seed(6)
        noise = triplet.perlin_noise(64, 64)
        self.assertLessEqual(float(noise.abs().max()), 1.0)
        self.assertGreater(float(noise.max()), 0.5)
        # Continuous where the lattice is coarse: neighbouring pixels are close, unlike white noise.
        steps = (noise[:, :, 1:] - noise[:, :, :-1]).abs().flatten(1).median(1).values
        self.assertLess(float(steps.min()), 0.02)


if __name__ == "__main__":
    unittest.main()
