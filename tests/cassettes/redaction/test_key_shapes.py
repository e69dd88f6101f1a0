"""Keys of many makers, each built as its maker builds it: random, behind a prefix."""

from __future__ import annotations

import json
import random
import re
import string
from urllib.parse import quote

import pytest

from aquila.cassettes.redaction.key_shapes import KEY_SHAPES
from aquila.cassettes.redaction.redactor import Redactor

HEX = "0123456789abcdef"
LOWER = string.ascii_lowercase + string.digits
MIXED = string.ascii_letters + string.digits
DASHED = MIXED * 8 + "-_"
BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

# Prefixes stand apart from what follows, and bodies are made when a test runs, so that no scanner takes them for keys.
KEYS: list[tuple[str, str | int, str]] = [
    *[("sk-", 48, MIXED), ("sk-proj-", 156, DASHED), ("sk-ant-api03-", 95, DASHED), ("sk-or-v1-", 64, HEX)],
    *[("sk-lf-", "8-4-4-4-12", HEX), ("sk-helicone-", "7-7-7-7", LOWER), ("sk_", 48, HEX), ("ek_", 32, MIXED)],
    *[("sk_", 43, DASHED)],  # of Novita
    *[("sk_live_", 24, MIXED), ("rk_prod_", 24, MIXED), ("whsec_", 32, MIXED), ("AIza", 35, DASHED)],
    *[("ya29.", 120, DASHED), ("ya29.a0A", 40, DASHED), ("1//0", 60, DASHED), ("GOCSPX-", 28, DASHED)],
    *[("AKIA", 16, BASE32), ("ABSK", 132, MIXED), ("bedrock-api-key-", 80, MIXED)],
    *[("LTAI", 20, MIXED), ("LTAI", 12, MIXED)],  # with 12 the shortest of all: nothing shorter is looked at
    *[("IQoJb3JpZ2luX2Vj", 600, MIXED), ("FwoGZXIvYXdzE", 300, MIXED)],
    *[("hf_", 34, MIXED), ("api_org_", 34, MIXED), ("gsk_", 52, MIXED), ("xai-", 80, MIXED), ("pplx-", 48, MIXED)],
    *[("csk-", 48, LOWER), ("fw_", 24, MIXED), ("r8_", 37, MIXED), ("nvapi-", 64, DASHED), ("tgp_v1_", 43, DASHED)],
    *[("pa-", 43, DASHED), ("lsv2_pt_", 32, HEX), ("ls__", 32, HEX), ("pcsk_", 69, MIXED), ("tvly-dev-", 32, MIXED)],
    *[("fc-", 32, HEX), ("jina_", 60, MIXED), ("e2b_", 40, HEX), ("pylf_v1_us_", 43, MIXED), ("wandb_v1_", 70, DASHED)],
    *[("apify_api_", 36, MIXED), ("as-", 22, MIXED), ("vck_", 48, MIXED)],
    *[("ghp_", 36, MIXED), ("ghs_", 36, MIXED), ("github_pat_", 82, MIXED + "_"), ("glpat-", 20, DASHED)],
    *[("gldt-", 20, DASHED), ("glrt-t1_", 27, DASHED), ("glptt-", 40, HEX), ("gloas-", 64, HEX)],
    *[
        ("xoxb-", "12-12-24", string.digits),
        ("xapp-1-", "11-13-64", LOWER),
        ("ntn_", 46, MIXED),
        ("secret_", 43, MIXED),
    ],
    *[("lin_api_", 40, MIXED), ("lin_oauth_", 64, HEX), ("ATATT3", 186, DASHED), ("pat", "14.64", HEX)],
    *[
        ("shpat_", 32, HEX),
        ("shpss_", 32, HEX),
        ("sq0atp-", 22, DASHED),
        ("sq0csp-", 43, DASHED),
        ("shippo_live_", 40, HEX),
        ("EZAK", 54, MIXED),
    ],
    *[("duffel_test_", 43, DASHED), ("SG.", "22.43", DASHED), ("xkeysib-", "64-16", HEX), ("key-", 32, HEX)],
    *[("SK", 32, HEX), ("re_", "8_24", MIXED), ("PMAK-", "24-34", HEX), ("tfp_", 59, DASHED), ("rdme_", 70, LOWER)],
    *[
        ("figd_", 40, DASHED),
        ("CFPAT-", 43, DASHED),
        ("fio-u-", 64, DASHED),
        ("M", "23.6.27", DASHED),
        ("sl.", 135, DASHED),
    ],
    *[("npm_", 36, MIXED), ("pypi-AgEI", 60, DASHED), ("rubygems_", 48, HEX), ("AKCp", 69, MIXED)],
    *[
        ("dop_v1_", 64, HEX),
        ("dapi", 32, HEX),
        ("sbp_", 40, HEX),
        ("sb_secret_", 31, DASHED),
        ("pscale_tkn_", 43, DASHED),
    ],
    *[("napi_", 64, LOWER), ("HRKU-AA", 58, DASHED), ("nfp_", 36, MIXED), ("rnd_", 32, MIXED), ("fo1_", 43, DASHED)],
    *[("fm2_", 120, MIXED), ("tk-us-", 48, DASHED), ("pul-", 40, HEX), ("pnu_", 36, MIXED), ("ico-", 32, MIXED)],
    *[("sha256~", 43, DASHED), ("tskey-auth-", "17-32", MIXED), ("hvs.", 95, DASHED), ("hvb.", 140, DASHED)],
    *[("dp.said.", 43, MIXED), ("dt0s16.", "24.64", MIXED)],
    *[("dp.pt.", 43, MIXED), ("ops_eyJ", 300, MIXED), ("AGE-SECRET-KEY-1", 58, BASE32), ("AQVN", 36, DASHED)],
    *[
        ("4b1d", 38, MIXED),
        ("glc_", 80, MIXED),
        ("glsa_", "32_8", HEX),
        ("sntrys_eyJ", 120, MIXED),
        ("sntryu_", 64, HEX),
    ],
    *[("NRAK-", 27, MIXED), ("dt0c01.", "24.64", MIXED), ("phx_", 43, MIXED), ("sgp_", 40, HEX), ("squ_", 40, HEX)],
    *[("eyJ", "20.eyJ40.43", DASHED), ("sk.eyJ", "40.22", DASHED), ("GR1348941", 20, DASHED)],
]


def make_key(prefix: str, body: str | int, alphabet: str, seed: int = 1) -> str:
    """A key: a prefix and random characters, as many as each number in ``body`` says."""
    dice = random.Random(f"{prefix}{seed}")

    def some(match: re.Match[str]) -> str:
        text = [dice.choice(alphabet) for _ in range(int(match[0]))]
        text[0], text[-1] = dice.choice(alphabet.replace("-", "").replace("_", "")), "7"
        return "".join(text)

    return prefix + re.sub(r"(?<![a-zA-Z])\d+|(?<=eyJ)\d+", some, str(body))


def test_a_key_is_found_behind_a_long_name_with_dashes() -> None:
    key = make_key("ghp_", 36, MIXED, 1)
    name = "name-of-a-file-" * 20
    assert Redactor().redact_text(f"{name}{key}.txt") == f"{name}[redacted].txt"


@pytest.mark.parametrize(("prefix", "body", "alphabet"), KEYS, ids=[f"{prefix}{body}" for prefix, body, _ in KEYS])
def test_a_key_is_found_wherever_it_stands(prefix: str, body: str | int, alphabet: str) -> None:
    redactor = Redactor()
    filler = " ".join(f"{number:020}" for number in range(100))
    for seed in range(5):
        key = make_key(prefix, body, alphabet, seed)
        for text in (
            "{}",
            "my key is {}, keep it",
            '{{"text": "x {}"}}',
            "https://x.example/a?q={}&r=1",
            "line\n{}\nline",
            *[f"{filler} {{}} {filler}"] * (seed == 0),
        ):
            clean = redactor.redact_text(text.format(key))
            assert clean == text.format("[redacted]")
            assert redactor.redact_text(clean) == clean
        for around in "\né":
            assert redactor.redact_text(json.dumps(f"{around}{key}{around}")) == json.dumps(
                f"{around}[redacted]{around}"
            )
        assert redactor.redact_text("a%0A" + quote(key, safe="") + "%0Ab") == "a%0A[redacted]%0Ab"


def test_every_row_of_the_table_has_a_key_here() -> None:
    keys = [make_key(*key).encode() for key in KEYS]
    unseen = [
        kind
        for kind, prefixes, rest in KEY_SHAPES
        if not any(re.match(re.escape(prefix) + rest, key) for prefix in prefixes for key in keys)
    ]
    assert unseen == [], "write a key of this kind into KEYS"


@pytest.mark.parametrize(
    "text",
    [
        "123456789:AA" + "Hq7" * 11,
        "https://discord.com/api/webhooks/123456789012345678/" + "aB3-" * 17,
        "https://x.webhook.office.com/webhookb2/"
        + "0a1b2c3d-" * 8
        + "@"
        + "0a1b" * 4
        + "/IncomingWebhook/"
        + "0a" * 16,
        "abc8Q~" + "aB3" * 11,
        "dp.st.dev." + "aB3" * 14,
        "dt0s02.ABCD1234." + "A1B2" * 16,
        "aB3aB3aB3aB3aB.atlasv1." + "aB3" * 21,
        "https://hooks.slack.com/workflows/T0000/B0000/aBcDeFgH1234aBcDeFgH",
    ],
)
def test_keys_that_only_their_middle_tells_are_found(text: str) -> None:
    redactor = Redactor()
    assert redactor.redact_text(f"use {text}.").endswith("[redacted].")
    for before in ("\n", "\t", "\u2028", "é"):
        inner = json.dumps({"a": f"use{before}{text}."})
        for written in (inner, json.dumps({"b": inner})):
            assert text not in redactor.redact_text(written), before


@pytest.mark.parametrize(
    "text",
    [
        "pat-terns of paths: pattern_matching_with_long_names_2024, key-value-store-with-many-words-12345",
        "re_compile_the_regular_expressions_2024 secret_sharing_scheme_with_eleven_words_2024_and_more",
        "the fc-bayern-munich-2024-season, task-0123456789abcdef0123456789abcdef, ask_0123456789abcdef0123456789abcdef",
        "MSG.abcdefghijklmnopqrstuvwx.abcdefghijklmnopqrstuvwx and html.0123456789012345678901234567890123456789",
        "sk_buff_allocation_in_the_linux_kernel_since_2_6_12 fw_update_with_long_descriptive_name_v2",
        "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "http://x.example/a1//0123/456 Node.module.exports.something_long_enough_to_be_a_run_of_it",
    ],
)
def test_names_and_prose_that_begin_like_keys_are_left_alone(text: str) -> None:
    assert Redactor().redact_text(text) is text
