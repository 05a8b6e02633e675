"""One licence, one name."""

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
        ("", None),
    ],
)
def test_licences_have_their_spdx_names(stated: str, name: str | None) -> None:
    assert licence_name(stated) == name


def test_what_is_not_recognised_stays_as_it_is_stated() -> None:
    assert stated_licence(" All  rights\nreserved ") == "All rights reserved"
    assert stated_licence("CC BY 4.0") == "CC-BY-4.0"


def test_several_licences_make_an_expression_of_which_each_must_be_kept() -> None:
    assert all_of([]) is None
    assert all_of(["MIT", "MIT"]) == "MIT"
    assert all_of(["MIT OR ISC", "CC-BY-4.0"]) == "(MIT OR ISC) AND CC-BY-4.0"
    assert all_of(["MIT OR ISC"]) == "MIT OR ISC"
