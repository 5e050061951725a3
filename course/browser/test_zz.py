import pytest
from course.browser.test_accounts import *
from course.browser.test_reconnect import *
from course.browser.test_sockets import *
from course.browser import test_accounts as a, test_reconnect as b, test_sockets as c
for n in list(globals()):
    if n.startswith("test_"): del globals()[n]
from course.browser.sites import DAPHNE, sites, steps
@pytest.mark.parametrize("n", range(20))
@steps(first=4)
def test_one(n, site, room, new_window, join):
    a.test_signing_out_closes_all_windows_of_the_user(site, room, new_window, join)
@pytest.mark.parametrize("n", range(20))
@sites(DAPHNE)
def test_two(n, site, room, new_window, wire, stop_clock):
    b.test_whoever_signs_out_does_not_come_back(site, new_window, wire, stop_clock)
@pytest.mark.parametrize("n", range(60))
@steps(first=4)
def test_three(n, site, room, new_window):
    c.test_a_stranger_is_told_4001(site, room, new_window)
