"""Suites of tests, as text, with everything that makes a runner's verdicts differ from plain pytest's."""

TRICKY = """
import os
import unittest
import warnings

import pytest

log = []


@pytest.fixture(scope="session")
def whole():
    log.append("session")
    yield log.count("session")


@pytest.fixture(scope="module", params=["one", "two"])
def module_wide(request):
    log.append(request.param)
    yield request.param


@pytest.fixture
def broken_setup():
    raise RuntimeError("no set-up")


@pytest.fixture
def broken_teardown():
    yield
    raise RuntimeError("no tear-down")


@pytest.fixture
def skipping():
    pytest.skip("from a fixture")


def test_passes(whole):
    assert whole >= 1


def test_fails():
    print("to standard output")
    assert [1, 2, 3] == [1, 2, 4]


def test_uses_module_wide(module_wide, whole):
    assert module_wide in ("one", "two")
    assert whole >= 1


def test_module_wide_again(module_wide, whole):
    assert log.count(module_wide) >= 1
    assert whole >= 1


def test_errors_in_setup(broken_setup):
    pass


def test_errors_in_teardown(broken_teardown):
    pass


def test_fails_and_errors_in_teardown(broken_teardown):
    assert False


def test_skips():
    pytest.skip("in the call")


def test_skips_in_setup(skipping):
    pass


@pytest.mark.skip(reason="by mark")
def test_skipped_by_mark():
    assert False


@pytest.mark.skipif(os.sep == "/", reason="here")
def test_skipped_if():
    assert False


@pytest.mark.xfail(reason="known")
def test_expected_failure():
    assert False


@pytest.mark.xfail(reason="thought so", strict=False)
def test_unexpected_pass():
    pass


@pytest.mark.xfail(strict=True)
def test_strict_unexpected_pass():
    pass


@pytest.mark.xfail(raises=KeyError)
def test_expected_another_failure():
    raise ValueError


@pytest.mark.xfail(run=False)
def test_not_run():
    os._exit(1)


def test_expected_failure_in_the_call():
    pytest.xfail("now")


def test_exits():
    raise SystemExit(3)


def test_warns():
    warnings.warn("a warning")


ODD = ["a::b", "with space", "[brackets]", "line\\nbreak", "tab\\t"]
ODD += ["\\u00e9\\u4e2d", "\\U0001f600", "", "nul\\0", "a" * 300]


@pytest.mark.parametrize("value", ODD)
def test_odd_ids(value):
    assert value != "tab\\t"


@pytest.mark.parametrize("value", [1, 1, 2], ids=["same", "same", "other"])
def test_nearly_same_ids(value):
    assert value == 1


@pytest.mark.parametrize("value", [b"\\xff", float("nan"), None, object, {"a": 1}])
def test_values_of_all_kinds(value):
    assert value


class TestClass:
    @pytest.fixture(scope="class", autouse=True)
    def class_wide(self):
        log.append("class")
        yield
        log.append("class gone")

    def test_first(self):
        assert log[-1] == "class"

    def test_second(self):
        assert log[-1] == "class"


def test_class_is_gone():
    assert log[-1] == "class gone"


class TestUnit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = 1

    def test_passes(self):
        self.assertEqual(self.shared, 1)

    def test_fails(self):
        self.fail("so it is")

    def test_subtests_fail(self):
        for number in range(4):
            with self.subTest(number=number):
                self.assertEqual(number % 2, 0)

    def test_subtests_pass(self):
        for number in range(4):
            with self.subTest(number=number):
                self.assertLess(number, 4)

    def test_a_subtest_skips(self):
        for number in range(2):
            with self.subTest(number=number):
                if number:
                    self.skipTest("the second")

    @unittest.expectedFailure
    def test_expected(self):
        self.fail("as expected")

    @unittest.expectedFailure
    def test_not_expected(self):
        pass

    @unittest.skip("a unit")
    def test_skipped(self):
        pass


class TestBrokenUnit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise RuntimeError("no class")

    def test_one(self):
        pass

    def test_two(self):
        pass


def test_forks_and_comes_back():
    if os.fork() == 0:
        raise SystemExit
    os.wait()
"""

# Two tests of one id, of which one fails: pytest lets a conftest do this, and some plugins repeat tests so.
DUPLICATES_CONFTEST = """
import copy

def pytest_collection_modifyitems(items):
    items[:] = [copy.copy(item) for item in items for _ in range(2)]
"""
DUPLICATES = """
calls = []

def test_twice():
    calls.append(1)
    assert len(calls) == 1
"""
