"""One licence, one name."""

import time

import pytest

from cosmo_assets.seeds.readers.licences import all_of, licence_name, stated_licence


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("http://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
        ("https://creativecommons.org/licenses/by-nc-sa/4.0/deed.pl", "CC-BY-NC-SA-4.0"),
        ("//creativecommons.org/licenses/by-sa/3.0/de/", "CC-BY-SA-3.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("http://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("http://creativecommons.org/licenses/publicdomain/", "CC-PDDC"),
        ("https://opensource.org/licenses/MIT", "MIT"),
        ("https://spdx.org/licenses/Apache-2.0.html", "Apache-2.0"),
        ("https://opensource.org/license/bsd-3-clause", "BSD-3-Clause"),
        ("cc-by-nc-nd-4.0", "CC-BY-NC-ND-4.0"),
        ("CC BY 4.0", "CC-BY-4.0"),
        ("CC BY-SA 4.0 International", "CC-BY-SA-4.0"),
        ("CC0 1.0 Universal", "CC0-1.0"),
        ("Attribution 4.0 International", "CC-BY-4.0"),
        ("Attribution-NonCommercial-ShareAlike 4.0 International", "CC-BY-NC-SA-4.0"),
        ("Creative Commons Attribution-NoDerivs 3.0 Unported", "CC-BY-ND-3.0"),
        ("apache-2.0", "Apache-2.0"),
        ("https://example.org/licence", None),
        ("licence by 4.0", None),
        ("All rights reserved", None),
        ("CC BY-SA", None),
        ("https://www.creativecommons.org/licenses/by/4.0/legalcode.en", "CC-BY-4.0"),
        ("Except where otherwise noted, under a Creative Commons Attribution 4.0 License.", "CC-BY-4.0"),
        ("Attribution 4.0: https://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
        ("Non-Commercial Attribution 4.0", "CC-BY-NC-4.0"),
        ("Attribution 4.0, non-commercial", None),
        ("not Attribution 4.0", None),
        ("Attribution 4.0 for text, images excluded", None),
        ("Text: Attribution 4.0. Images: all rights reserved", None),
        ("https://creativecommons.org/licenses/by/4.0/, https://creativecommons.org/licenses/by-nc-nd/4.0/", None),
        ("Attribution 4.0 until 2019, https://creativecommons.org/licenses/by-nc/4.0/ since", None),
        ("", None),
    ],
)
def test_licences_have_their_spdx_names(stated: str, name: str | None) -> None:
    assert licence_name(stated) == name


def test_what_is_not_recognised_stays_as_it_is_stated() -> None:
    assert stated_licence(" All  rights\nreserved ") == "All rights reserved"
    assert stated_licence("CC BY 4.0") == "CC-BY-4.0"


def test_several_licences_in_one_text_are_all_kept() -> None:
    text, images = "https://creativecommons.org/licenses/by/4.0/", "https://creativecommons.org/licenses/by-nc-nd/4.0/"
    assert stated_licence(f"Text: {text}, images: {images}") == "CC-BY-4.0 AND CC-BY-NC-ND-4.0"
    assert stated_licence(f"Text: {text}, images: {text}") == f"Text: {text}, images: {text}"
    assert stated_licence("not  Attribution 4.0") == "not Attribution 4.0"


@pytest.mark.parametrize(
    "part", ["creativecommons.org/licenses/", "https:", "www.", "attribution,", "noncommercial ", "attribution 4.0 "]
)
def test_long_statements_take_linear_time(part: str) -> None:
    started = time.perf_counter()
    stated_licence(part * (500_000 // len(part)))
    assert time.perf_counter() - started < 10


def test_a_licence_with_odd_brackets_cannot_undo_the_others() -> None:
    assert all_of(["x) OR (MIT", "CC-BY-NC-4.0"]) == "(x] OR [MIT) AND CC-BY-NC-4.0"
    assert all_of(["(MIT OR ISC)", "CC-BY-4.0"]) == "((MIT OR ISC)) AND CC-BY-4.0"


def test_several_licences_make_an_expression_of_which_each_must_be_kept() -> None:
    assert all_of([]) is None
    assert all_of(["MIT", "MIT"]) == "MIT"
    assert all_of(["MIT OR ISC", "CC-BY-4.0"]) == "(MIT OR ISC) AND CC-BY-4.0"
    assert all_of(["MIT OR ISC"]) == "MIT OR ISC"
