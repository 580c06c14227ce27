import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab7.config import PRESETS, field_names, from_dict, get_preset, override, to_dict
from lab7.utils.files import UserError


@pytest.mark.parametrize("name", PRESETS)
def test_dict_round_trip(name):
    assert from_dict(to_dict(PRESETS[name])) == PRESETS[name]


def test_course_preset_has_the_reports_hyperparameters():
    course = get_preset("course")
    assert (course.model.n_feature, course.data.image_size, course.diffusion.num_steps) == (256, 64, 1000)
    assert (course.train.batch_size, course.train.epochs, course.train.learning_rate) == (32, 500, 1e-3)
    assert (course.train.lr_schedule, course.data.normalise, course.sampling.num_steps) == ("report", "plain", 1000)


@given(st.integers(1, 4096))
def test_override_by_short_and_full_name(value):
    quick = get_preset("quick")
    changed = override(quick, [f"batch_size={value}"])
    assert changed.train.batch_size == value
    assert changed == override(quick, [f"train.batch_size={value}"])
    assert override(changed, [f"batch_size={quick.train.batch_size}"]) == quick


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("batchsize=3", "did you mean 'batch_size'"),
        ("num_steps=3", r"ambiguous; say diffusion.num_steps or sampling.num_steps"),
        ("batch_size=many", "must be a whole number, not 'many'"),
        ("learning_rate=fast", "must be a number, not 'fast'"),
        ("batch_size=-1", "must be at least 1, but is -1"),
        ("t_end=1", "must be at least 0 and at most 0.999, but is 1"),
        ("compile=yes", "must be one of true, false, not 'yes'"),
        ("schedule=square", "must be one of linear, linear_eq3, linear_listing, cosine"),
        ("batch_size", "not of the form field=value"),
    ],
)
def test_bad_settings_are_refused_in_one_line(setting, message):
    with pytest.raises(UserError, match=message) as error:
        override(get_preset("quick"), [setting])
    assert "\n" not in str(error.value)


def test_several_numbers_are_given_with_commas():
    for text in ("128,192", "(128, 192)", "[128, 192]"):
        assert override(get_preset("laptop"), [f"widths={text}"]).efficient.widths == (128, 192)
    with pytest.raises(UserError, match="widths must be a whole number, not 'wide'"):
        override(get_preset("laptop"), ["widths=128,wide"])


def test_unknown_preset_lists_the_known():
    with pytest.raises(UserError, match="did you mean 'smoke'"):
        get_preset("smok")
    with pytest.raises(UserError, match="known: smoke, small, quick, short, laptop, course, best"):
        get_preset("x")


def test_unknown_field_in_a_stored_config():
    values = to_dict(get_preset("quick"))
    values["train"]["mood"] = "good"
    with pytest.raises(UserError, match=r"unknown setting 'train\.mood'"):
        from_dict(values)


def test_every_field_can_be_set():
    for name in field_names():
        section, field = name.split(".")
        value = getattr(getattr(get_preset("quick"), section), field)
        assert override(get_preset("quick"), [f"{name}={value}"]) == get_preset("quick")
