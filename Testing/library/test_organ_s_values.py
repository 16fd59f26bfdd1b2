"""Organ-level dose: the MIRD sum by hand, mass scaling, tables that are none, and a published table."""

import pytest
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.organ_s_values import organ_doses, read_organ_s_values

TABLE = "target,kidneys,liver,mass_g\nkidneys,7.76e-5,1.2e-7,310\nliver,1.2e-7,1.37e-5,1800\nspleen,2.65e-7,1e-7,150\n"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text(TABLE)
    return read_organ_s_values(path)


def test_the_sum_by_hand(table):
    dose = organ_doses({"kidneys": 5000.0, "liver": 8000.0}, table)
    assert dose["kidneys"]["dose_gy"] == pytest.approx(3.6 * (5000 * 7.76e-5 + 8000 * 1.2e-7))
    assert dose["spleen"]["dose_gy"] == pytest.approx(3.6 * (5000 * 2.65e-7 + 8000 * 1e-7))
    assert dose["spleen"]["self_gy"] == 0


def test_only_self_dose_scales_with_the_mass(table):
    dose = organ_doses({"kidneys": 5000.0, "liver": 8000.0}, table, {"kidneys": 155.0})
    plain = organ_doses({"kidneys": 5000.0, "liver": 8000.0}, table)
    assert dose["kidneys"]["self_gy"] == pytest.approx(2 * plain["kidneys"]["self_gy"])
    assert dose["kidneys"]["cross_gy"] == plain["kidneys"]["cross_gy"]
    assert dose["liver"] == plain["liver"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "no S-value table"),
        ("target,kidneys\nkidneys,abc\n", "line 2, column 'kidneys': 'abc' is no number"),
        ("target,kidneys\nkidneys,-1\n", "negative"),
        ("target,kidneys\nkidneys,1\nkidneys,2\n", "twice"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, content, sentence):
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=sentence):
        read_organ_s_values(path)


def test_unknown_source_and_bad_mass_are_refused(table):
    with pytest.raises(InputError, match="no source organ pancreas"):
        organ_doses({"pancreas": 1.0}, table)
    with pytest.raises(InputError, match="mass of kidneys is 0"):
        organ_doses({"kidneys": 1.0}, table, {"kidneys": 0.0})
    with pytest.raises(InputError, match="cannot be read"):
        read_organ_s_values("/does/not/exist.csv")


@pytest.mark.realdata
def test_a_published_table_is_read(reference_data):
    path = reference_data("svalues_tacs") / "OLINDA_Lu177-Male-Svalues.csv"
    table = read_organ_s_values(path)
    dose = organ_doses({"Kidneys": 1000.0}, table)
    # 177Lu, 310 g: S x mass is the electron energy of the decay and a few keV of photons
    energy_kev = table.s_mgy_per_mbq_s["Kidneys"]["Kidneys"] * 310 / 1.602176634e-4
    assert 148 < energy_kev < 156
    assert dose["Kidneys"]["dose_gy"] == pytest.approx(
        3.6 * 1000 * table.s_mgy_per_mbq_s["Kidneys"]["Kidneys"]
    )
