"""Vocabulary for invented tools, and random material that can only be copied, never memorised."""

from __future__ import annotations

from random import Random

VERBS = """
get find list create update delete send book cancel open close start stop search fetch read write
move copy rename archive restore schedule assign approve reject publish import export convert
translate compute check validate track order ship refund charge reserve invite notify remind record
play pause skip mute lock unlock scan print upload download share tag label merge split sort filter
count rank compare review submit register renew measure calibrate deploy restart inspect resolve
escalate transfer pay quote plan draft summarize sync reset set add remove enable disable lookup
query show describe locate estimate report post subscribe monitor load save
""".split()

NOUNS = """
invoice meeting ticket room flight hotel table order parcel payment account contact message email
note task project file folder document photo album song playlist video channel article page site
server cluster container image branch commit issue release build test job queue alarm timer reminder
event calendar shift employee customer supplier product item basket coupon stock price rate currency
budget expense report chart dataset record row column sensor lamp heater thermostat door window
camera robot drone truck train bus taxi ticketing route map station garden plant crop field weather
forecast tide wind road bridge tunnel city country language word sentence poem recipe meal drink
course lesson exam grade student teacher class book chapter library member team player match score
league stadium patient doctor visit dose device battery cable router network firewall password key
token license contract lease loan policy claim case lawyer vote survey answer comment review badge
profile group forum thread post backup snapshot volume disk cache index model experiment metric
""".split()

QUALIFIERS = """daily weekly monthly new old main public private remote local active pending final draft
shared internal external quick full partial archived primary secondary latest custom default annual
regional""".split()

#: parameter names by the kind of value they hold
PARAMETERS: dict[str, tuple[str, ...]] = {
    "name": tuple(
        """
name owner author customer recipient city location destination origin assignee team project brand
artist         street region station contact manager host guest company venue country user sender
district
""".split()
    ),
    "text": tuple(
        """
title subject query message note comment topic summary reason label description caption keyword
content         headline body phrase question remark heading
""".split()
    ),
    "id": tuple(
        """
id order_id ticket_id user_id account_id item_id code reference serial sku booking_code
tracking_number         session_id record_id device_id invoice_number batch key token version
""".split()
    ),
    "path": tuple(
        "path file folder source target directory filename output_path input_file location_path".split()
    ),
    "email": tuple("email to recipient_email contact_email sender_address cc reply_to".split()),
    "date": tuple("date start_date end_date due_date day from_date until deadline check_in birthday".split()),
    "time": tuple("time start_time end_time at alarm_time departure_time opening".split()),
    "integer": tuple(
        """
count limit max_results quantity page size priority level days minutes seats guests retries port
year         amount offset width height age number floor copies capacity duration timeout
""".split()
    ),
    "number": tuple(
        """
price amount weight temperature rate distance ratio threshold latitude longitude speed score budget
volume radius factor length total
""".split()
    ),
    "boolean": tuple(
        """
urgent dry_run recursive notify verbose public force overwrite confirmed archived include_details
premium express silent compact hidden gift_wrap breakfast strict
""".split()
    ),
    "enum": tuple(
        """
unit format priority status mode type color size category language sort_order severity currency
method         channel role plan class kind style direction
""".split()
    ),
    "array": tuple(
        "tags items names recipients keywords labels categories members fields ids files topics".split()
    ),
}

ENUM_WORDS = """
low medium high urgent celsius fahrenheit kelvin metric imperial json csv xml pdf open closed
pending red green blue black white small large tiny huge asc desc fast slow email phone post admin
guest editor viewer basic pro gold silver north south east west daily weekly monthly cash card
transfer debug info warning error draft final public private left right up down hot cold economy
business first train bus car bike
""".split()

_ONSETS = "b c d f g h j k l m n p r s t v w z br cr dr fl gr kl pr sk st tr th sh ch pl qu gl sn".split()
_VOWELS = "a e i o u a e i o u ai ea io ou ei y".split()
_CODAS = ["", "", "", "", "n", "r", "l", "s", "t", "m", "k", "x", "nd", "rt", "ng", "lm"]

_ACCENTED = tuple("éèêáàâóòôúùíäöüßåøæñçãõžšłğıČ")

_PLAIN = """
the a small big red old new green blue round paper stone river morning winter silent broken wooden
second third long short garden window coffee market music silver lamp bread train paint quiet letter
orange yellow summer night street horse glass metal cloud forest apple kitchen office phone engine
ticket harbor
""".split()


def invented_word(rng: Random, syllables: int | None = None) -> str:
    """A pronounceable word that is in no list: one to four random syllables."""
    n = syllables or rng.choice((1, 2, 2, 2, 3, 3, 4))
    word = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(n))
    return word if len(word) > 2 else word + rng.choice("nrslt") + rng.choice("aeiou")


def invented_name(rng: Random) -> str:
    """A capitalised proper name of one or two words, sometimes with a hyphen."""
    first = invented_word(rng).capitalize()
    if rng.random() < 0.07:
        first += rng.choice(_ACCENTED) + invented_word(rng, 1)
    roll = rng.random()
    if roll < 0.55:
        return first
    if roll < 0.92:
        return f"{first} {invented_word(rng).capitalize()}"
    return f"{first}-{invented_word(rng).capitalize()}"


def phrase(rng: Random, shortest: int = 2, longest: int = 5) -> str:
    """Some words of free text, about half of them invented."""
    words = [
        invented_word(rng) if rng.random() < 0.5 else rng.choice(_PLAIN if rng.random() < 0.6 else NOUNS)
        for _ in range(rng.randint(shortest, longest))
    ]
    if rng.random() < 0.12:
        _disturb(rng, words)
    text = " ".join(words)
    return text[0].upper() + text[1:] if rng.random() < 0.3 else text


def _disturb(rng: Random, words: list[str]) -> None:
    """One thing that JSON escapes or that ends words: quotes, an apostrophe, a new line, punctuation."""
    i = rng.randrange(len(words))
    word = words[i]
    marked = (f'"{word}"', f"{word}'s", f"{word}\n{invented_word(rng)}", f"{word}!", f"{word}?", f"{word},")
    words[i] = rng.choice(marked)


def identifier(rng: Random) -> str:
    """An id such as `ord-48213`, `K7Q2X`, `zelto_19` or `A-204`."""
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 6)))
    letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(rng.randint(1, 4)))
    mixed = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789") for _ in range(rng.randint(4, 8)))
    stem = invented_word(rng, rng.choice((1, 2)))
    return rng.choice(
        (f"{stem}-{digits}", f"{letters}-{digits}", mixed, f"{stem}_{digits}", f"{letters}{digits}")
    )


def file_path(rng: Random) -> str:
    """A relative or absolute path with an extension or without."""
    parts = [
        invented_word(rng) if rng.random() < 0.7 else rng.choice(NOUNS) for _ in range(rng.randint(1, 3))
    ]
    ending = rng.choice(("", ".txt", ".md", ".csv", ".json", ".py", ".log", ".png"))
    return rng.choice(("/", "", "./", "~/")) + "/".join(parts) + ending


def email_address(rng: Random) -> str:
    """An address under an invented domain."""
    user = invented_word(rng) + rng.choice(("", str(rng.randint(1, 99)), "." + invented_word(rng, 1)))
    return f"{user}@{invented_word(rng)}.{rng.choice(('com', 'org', 'net', 'io'))}"


def command(rng: Random) -> str:
    """A shell command of one or two programs."""
    word, file = invented_word(rng), file_path(rng)
    one = rng.choice(
        (
            f"ls {file}", f"ls -{rng.choice(('la', 'l', 'R'))} {file}", "ls -la", "ls", "pwd", "whoami",
            "git status", "git log --oneline", f"git checkout {word}", f"git diff {file}", f"cat {file}",
            f"grep -rn {word} {file}", f"grep {word} {file}", f"python {word}.py", f"pytest -k {word}",
            f"npm {rng.choice(('test', 'install', f'run {word}'))}", f"make {word}", f"mkdir -p {file}",
            f"rm {file}", f"cp {file} {word}.txt", f"find . -name {glob(rng)}", f"wc -l {file}",
            f"head -n {rng.randint(1, 99)} {file}", f"echo {word}", f"docker run {word}:{rng.randint(1, 20)}",
            f"curl {url(rng)}", "df -h", "ps aux",
            f"./{word}.sh --{invented_word(rng, 1)} {rng.randint(0, 99)}",
        )
    )  # fmt: skip
    if rng.random() < 0.2:
        return f"{one} {rng.choice(('| grep', '| head -n 5 #', '&& cat', '> /tmp/', '| wc -l #'))} {word}"
    return one


def glob(rng: Random) -> str:
    """A pattern of file names."""
    ending = rng.choice("py txt md json csv log js ts yaml html toml".split())
    word = invented_word(rng)
    return rng.choice((f"*.{ending}", f"**/*.{ending}", f"{word}*.{ending}", f"{word}.{ending}", f"*{word}*"))


def place(rng: Random, town: str) -> str:
    """A town as people write it, sometimes with its state or country."""
    if rng.random() < 0.5:
        return town
    state = "".join(rng.choice("ACDFILMNOTWY") for _ in range(2))
    return f"{town}, {state if rng.random() < 0.7 else invented_name(rng).split()[0]}"


def expression(rng: Random) -> str:
    """Something to calculate."""
    text = str(rng.randint(0, 999))
    for _ in range(rng.randint(1, 3)):
        number = rng.choice((rng.randint(1, 99), rng.randint(1, 9999), round(rng.uniform(0, 99), 2)))
        text += f" {rng.choice('+-*/')} {number}"
    return f"({text}) * {rng.randint(2, 20)}" if rng.random() < 0.15 else text


def url(rng: Random) -> str:
    """An address of a page."""
    host = f"{invented_word(rng)}.{rng.choice(('com', 'org', 'io', 'net', 'dev'))}"
    tail = rng.choice(("", "/", f"/{invented_word(rng)}", f"/{invented_word(rng)}/{rng.randint(1, 999)}"))
    return f"{rng.choice(('https://', 'https://', 'http://'))}{rng.choice(('', 'www.'))}{host}{tail}"
