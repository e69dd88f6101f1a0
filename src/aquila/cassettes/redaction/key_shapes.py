"""A table of the shapes of keys that begin with a prefix of their provider.

Each row follows what the provider documents about its keys, and is as narrow as that allows, because ids may begin in a
similar way: ``chatcmpl-``, ``sk_id_``. Every key must hold a run of at least 16 letters, digits, ``-`` and ``_``: only
where such a run begins is a key searched for. The prefix may end with a character outside of that alphabet. A pattern
is tried only where one of its prefixes stands, so it must match nothing else.
"""

from __future__ import annotations

# Letters and dashes alone may be a title (sk-learn-tutorial-for-beginners). A key has digits, and 16 characters
# without a dash.
_KEYISH = rb"(?=[\w-]{0,200}?[A-Za-z0-9]{16})(?=[\w-]{0,200}?[0-9])[\w-]{20,}"
_DIGIT = rb"(?=[\w-]{0,200}?[0-9])"  # words joined by underscores have none
_END = rb"(?![\w-])"
_UUID = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

KEY_SHAPES: tuple[tuple[str, tuple[bytes, ...], bytes], ...] = (
    # Providers of models.
    ("Anthropic key", (b"sk-ant-",), rb"sk-ant-" + _KEYISH),
    ("OpenRouter key", (b"sk-or-",), rb"sk-or-" + _KEYISH),
    ("Langfuse key", (b"sk-lf-",), rb"sk-lf-" + _UUID),
    ("Helicone key", (b"sk-helicone-",), rb"sk-helicone-(?:[a-z0-9]{7}-){3}[a-z0-9]{7}" + _END),
    ("OpenAI key", (b"sk-",), rb"sk-" + _KEYISH),
    ("OpenAI client secret", (b"ek_",), rb"ek_" + _DIGIT + rb"[A-Za-z0-9]{20,}"),
    ("ElevenLabs key", (b"sk_",), rb"sk_[0-9a-f]{48}" + _END),
    ("Novita key", (b"sk_",), rb"sk_" + _DIGIT + rb"[A-Za-z0-9_-]{43}" + _END),
    ("Stripe key", (b"sk_", b"rk_"), rb"[sr]k_(?:live|test|prod)_[A-Za-z0-9]{16,}"),
    ("webhook secret", (b"whsec_",), rb"whsec_[A-Za-z0-9+/]{20,}={0,2}"),
    ("Google API key", (b"AIza",), rb"AIza[\w-]{35}"),
    ("Google OAuth token", (b"ya29.",), rb"ya29\.[\w.-]{20,}"),
    ("Google refresh token", (b"1//",), rb"1//0[\w-]{30,}"),
    ("Google client secret", (b"GOCSPX-",), rb"GOCSPX-[\w-]{28}"),
    ("AWS access key id", (b"AKIA", b"ASIA", b"ABIA", b"ACCA"), rb"A(?:KIA|SIA|BIA|CCA)[A-Z2-7]{16}(?![A-Za-z0-9])"),
    # Base64 of "origin_ec" and "er/aws", with which the token of temporary credentials begins.
    (
        "AWS session token",
        (b"IQoJb3JpZ2lu", b"FwoGZXIvYXdz"),
        rb"(?:IQoJb3JpZ2lu|FwoGZXIvYXdz)[A-Za-z0-9+/]{80,}={0,2}",
    ),
    ("AWS Bedrock key", (b"ABSK",), rb"ABSK[A-Za-z0-9+/]{100,}={0,2}"),
    ("AWS Bedrock key", (b"bedrock-api-key-",), rb"bedrock-api-key-[A-Za-z0-9+/]{40,}={0,2}"),
    ("Alibaba key id", (b"LTAI",), rb"LTAI[A-Za-z0-9]{12,24}" + _END),
    ("Hugging Face token", (b"hf_",), rb"hf_[A-Za-z0-9]{30,}"),
    ("Hugging Face token", (b"api_org_",), rb"api_org_[A-Za-z0-9]{34}" + _END),
    ("Groq key", (b"gsk_",), rb"gsk_[A-Za-z0-9]{40,}"),
    ("xAI key", (b"xai-",), rb"xai-[A-Za-z0-9]{60,}"),
    ("Perplexity key", (b"pplx-",), rb"pplx-[A-Za-z0-9]{40,}"),
    ("Cerebras key", (b"csk-",), rb"csk-[a-z0-9]{40,}"),
    ("Fireworks key", (b"fw_",), rb"fw_" + _DIGIT + rb"[A-Za-z0-9]{20,}" + _END),
    ("Replicate token", (b"r8_",), rb"r8_[A-Za-z0-9]{36,}"),
    ("NVIDIA key", (b"nvapi-",), rb"nvapi-[\w-]{60,}"),
    ("Together key", (b"tgp_v1_",), rb"tgp_v1_[\w-]{40,}"),
    ("Voyage key", (b"pa-", b"al-"), rb"(?:pa|al)-" + _DIGIT + rb"[A-Za-z0-9_-]{43}" + _END),
    ("LangSmith key", (b"lsv2_",), rb"lsv2_[a-z]{2}_[0-9a-f]{32}\w*"),
    ("LangSmith key", (b"ls__",), rb"ls__[0-9a-f]{32}" + _END),
    ("Pinecone key", (b"pcsk_",), rb"pcsk_" + _DIGIT + rb"[A-Za-z0-9_]{30,}"),
    ("Tavily key", (b"tvly-",), rb"tvly-[A-Za-z0-9-]{20,}"),
    ("Firecrawl key", (b"fc-",), rb"fc-[0-9a-f]{32}" + _END),
    ("Jina key", (b"jina_",), rb"jina_[A-Za-z0-9]{40,}"),
    ("E2B key", (b"e2b_",), rb"e2b_[0-9a-f]{40}" + _END),
    ("Logfire token", (b"pylf_v",), rb"pylf_v\d_[a-z]{2,8}_[A-Za-z0-9]{30,}"),
    ("Weights and Biases key", (b"wandb_v",), rb"wandb_v\d_[\w-]{40,}"),
    ("Apify token", (b"apify_api_",), rb"apify_api_[A-Za-z0-9]{30,}"),
    ("Modal token", (b"as-", b"ak-"), rb"a[sk]-" + _DIGIT + rb"[A-Za-z0-9]{22}" + _END),
    ("Vercel token", (b"vck_", b"vcp_", b"vci_"), rb"vc[kpi]_" + _DIGIT + rb"[A-Za-z0-9]{24,}"),
    # Tools and services that programs call.
    ("GitHub token", (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"), rb"gh[pousr]_[A-Za-z0-9]{36,}"),
    ("GitHub token", (b"github_pat_",), rb"github_pat_\w{22,}"),
    (
        "GitLab token",
        (
            *(b"glpat-", b"gldt-", b"glptt-", b"glrt-", b"glsoat-", b"glcbt-", b"glimt-", b"glffct-"),
            *(b"glagent-", b"gloas-", b"glft-"),
        ),
        rb"gl(?:pat|dt|ptt|rt|soat|cbt|imt|ffct|agent|oas|ft)-[\w-]{20,}",
    ),
    ("GitLab token", (b"GR1348941",), rb"GR1348941[\w-]{20}"),
    ("Slack token", (b"xox", b"xapp-"), rb"(?:xox[a-z]|xapp)-" + _DIGIT + rb"[A-Za-z0-9-]{16,}"),
    ("Notion token", (b"ntn_",), rb"ntn_[A-Za-z0-9]{40,}"),
    ("Notion token", (b"secret_",), rb"secret_" + _DIGIT + rb"[A-Za-z0-9]{43}" + _END),
    ("Linear key", (b"lin_api_", b"lin_oauth_"), rb"lin_(?:api|oauth)_[A-Za-z0-9]{32,}"),
    ("Atlassian token", (b"ATATT3", b"ATCTT3"), rb"AT[AC]TT3[\w=-]{100,}"),
    ("Airtable token", (b"pat",), rb"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    ("Shopify token", (b"shpat_", b"shpca_", b"shppa_", b"shpss_"), rb"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    ("Square token", (b"sq0atp-", b"sq0csp-"), rb"sq0(?:at|cs)p-[\w-]{22,}"),
    ("Shippo token", (b"shippo_",), rb"shippo_(?:live|test)_[0-9a-f]{40}"),
    ("EasyPost key", (b"EZAK", b"EZTK"), rb"EZ[AT]K[A-Za-z0-9]{54}" + _END),
    ("Duffel token", (b"duffel_",), rb"duffel_(?:test|live)_[\w-]{43}"),
    ("SendGrid key", (b"SG.",), rb"SG\.[\w-]{16,}\.[\w-]{16,}"),
    ("Brevo key", (b"xkeysib-",), rb"xkeysib-[0-9a-f]{64}-[A-Za-z0-9]{16}"),
    ("Mailgun key", (b"key-",), rb"key-[0-9a-f]{32}" + _END),
    ("Twilio key", (b"SK",), rb"SK[0-9a-f]{32}" + _END),
    ("Resend key", (b"re_",), rb"re_[A-Za-z0-9]{6,10}_" + _DIGIT + rb"[A-Za-z0-9]{20,30}" + _END),
    ("Postman key", (b"PMAK-",), rb"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    ("Typeform token", (b"tfp_",), rb"tfp_[\w-]{40,}"),
    ("ReadMe key", (b"rdme_",), rb"rdme_[a-z0-9]{70}"),
    ("Figma token", (b"figd_",), rb"figd_[\w-]{36,}"),
    ("Contentful token", (b"CFPAT-",), rb"CFPAT-[\w-]{40,}"),
    ("Frame.io token", (b"fio-u-",), rb"fio-u-[\w=-]{60,}"),
    ("Discord token", (b"M", b"N", b"O"), rb"[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,40}" + _END),
    ("Dropbox token", (b"sl.",), rb"sl\.[\w=-]{60,}"),
    ("Mapbox token", (b"sk.",), rb"sk\.eyJ[\w-]{16,}\.[\w-]{16,}"),
    # Package indexes, machines and clouds.
    ("npm token", (b"npm_",), rb"npm_[A-Za-z0-9]{36}"),
    ("PyPI token", (b"pypi-",), rb"pypi-AgE[\w-]{40,}"),
    ("RubyGems key", (b"rubygems_",), rb"rubygems_[0-9a-f]{48}"),
    ("Artifactory key", (b"AKCp",), rb"AKCp[A-Za-z0-9]{69}" + _END),
    ("DigitalOcean token", (b"dop_v1_", b"doo_v1_", b"dor_v1_"), rb"do[opr]_v1_[0-9a-f]{64}"),
    ("Databricks token", (b"dapi",), rb"dapi[0-9a-f]{32}(?:-\d)?" + _END),
    ("Supabase key", (b"sbp_",), rb"sbp_[0-9a-f]{40}"),
    ("Supabase key", (b"sb_secret_",), rb"sb_secret_[\w-]{20,}"),
    ("PlanetScale token", (b"pscale_",), rb"pscale_(?:tkn|oauth|pw)_[\w=.-]{32,}"),
    ("Neon key", (b"napi_",), rb"napi_[a-z0-9]{40,}"),
    ("Heroku key", (b"HRKU-",), rb"HRKU-[\w-]{36,}"),
    ("Netlify token", (b"nfp_",), rb"nfp_[A-Za-z0-9]{36,}"),
    ("Render key", (b"rnd_",), rb"rnd_[A-Za-z0-9]{28,}"),
    ("Fly token", (b"fo1_",), rb"fo1_[\w-]{43}"),
    ("Fly token", (b"fm1r_", b"fm1a_", b"fm2_"), rb"fm(?:1[ar]|2)_[A-Za-z0-9+/]{100,}={0,3}"),
    ("Scalingo token", (b"tk-us-",), rb"tk-us-[\w-]{48}"),
    ("Pulumi token", (b"pul-",), rb"pul-[0-9a-f]{40}"),
    ("Prefect key", (b"pnu_", b"pnb_"), rb"pn[ub]_[A-Za-z0-9]{36}"),
    ("Infracost key", (b"ico-",), rb"ico-[A-Za-z0-9]{32}" + _END),
    ("OpenShift token", (b"sha256~",), rb"sha256~[\w-]{43}" + _END),
    ("Tailscale key", (b"tskey-",), rb"tskey-[a-z]{2,10}-[A-Za-z0-9]{8,}-[A-Za-z0-9]{16,}"),
    ("Vault token", (b"hvs.", b"hvb.", b"hvr."), rb"hv[sbr]\.[\w-]{20,}"),
    (
        "Doppler token",
        tuple(b"dp.%s." % kind for kind in (b"pt", b"st", b"ct", b"sa", b"said", b"scim", b"audit")),
        rb"dp\.(?:pt|st|ct|sa|said|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44}",
    ),
    ("1Password token", (b"ops_",), rb"ops_eyJ[A-Za-z0-9+/=_-]{100,}"),
    ("age key", (b"AGE-SECRET-KEY-",), rb"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    ("Yandex key", (b"AQVN",), rb"AQVN[\w-]{35,38}" + _END),
    ("ClickHouse key", (b"4b1d",), rb"4b1d[A-Za-z0-9]{38}" + _END),
    # Monitoring.
    ("Grafana token", (b"glc_",), rb"glc_[A-Za-z0-9+/]{32,}={0,3}"),
    ("Grafana token", (b"glsa_",), rb"glsa_[A-Za-z0-9]{32}_[0-9a-fA-F]{8}"),
    ("Sentry token", (b"sntrys_",), rb"sntrys_eyJ[A-Za-z0-9+/=_]{20,}"),
    ("Sentry token", (b"sntryu_",), rb"sntryu_[0-9a-f]{64}"),
    ("New Relic key", (b"NRAK-", b"NRII-", b"NRJS-", b"NRRA-"), rb"NR(?:AK|II|JS|RA)-[A-Za-z0-9-]{19,}"),
    (
        "Dynatrace token",
        tuple(b"dt0%s." % kind for kind in (b"c01", b"s01", b"s02", b"s03", b"s16")),
        rb"dt0(?:c01|s0[123]|s16)\.[A-Za-z0-9]{8,24}\.[A-Za-z0-9]{64}",
    ),
    ("PostHog key", (b"phx_", b"phs_"), rb"ph[xs]_[A-Za-z0-9]{40,}"),
    ("Sourcegraph token", (b"sgp_", b"sgd_"), rb"sg[pd]_(?:(?:[0-9a-f]{16}|local)_)?[0-9a-f]{40}"),
    ("SonarQube token", (b"squ_", b"sqp_", b"sqa_"), rb"sq[upa]_[0-9a-f]{40}"),
    ("JSON Web Token", (b"eyJ",), rb"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"),
)
"""Each row: the kind by which findings name the key, the prefixes, and the pattern, which includes the prefix."""
