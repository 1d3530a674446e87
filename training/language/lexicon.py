"""The words that the generated tables are made of.

Everything here is data. A text's meaning is decided by these lists alone, so the right answer to a question can be
computed from the row: an adjective of `ADJECTIVES[5]` is high praise wherever it stands, a noun of `GOODS["kitchen"]`
is a kitchen product.
"""

from __future__ import annotations

from typing import Final


def _list(text: str) -> tuple[str, ...]:
    """Entries between bars, with white space folded."""
    return tuple(" ".join(entry.split()) for entry in text.split("|"))


# Level 1 is the angriest, 5 the happiest. No entry may stand in two levels (a test looks).
ADJECTIVES: Final[dict[int, tuple[str, ...]]] = {
    1: _list("terrible|awful|horrible|dreadful|unbearable|disgusting|useless|atrocious|appalling|pathetic"),
    2: _list("disappointing|poor|weak|mediocre|annoying|bad|clumsy|unreliable|dull|unpleasant"),
    3: _list("okay|average|acceptable|ordinary|fair|passable|unremarkable|standard|adequate|so-so"),
    4: _list("good|nice|pleasant|solid|pleasing|enjoyable|likeable|decent|satisfying|neat"),
    5: _list("excellent|superb|amazing|fantastic|perfect|brilliant|wonderful|outstanding|flawless|magnificent"),
}

# The closing sentence of a review decides its level; single opinions before it may point the other way.
VERDICTS: Final[dict[int, tuple[str, ...]]] = {
    1: _list(
        """I hate it|avoid this at all costs|the worst I have ever come across|a complete waste of money|
        I regret it deeply|I am furious|never again in my life|an utter disaster|I would give zero stars if I could|
        it ruined my week"""
    ),
    2: _list(
        """I expected more|I would not choose it again|not worth the money|it let me down|
        there are better options|I was not impressed|I cannot recommend it|it falls short|
        a bit of a letdown|I am rather unhappy with it"""
    ),
    3: _list(
        """nothing special|it does the job|neither great nor terrible|I have no strong feelings|
        it is what it is|middle of the road|some things work and some do not|I can take it or leave it|
        about what I expected|it is fine for once"""
    ),
    4: _list(
        """I am happy with it|I would choose it again|worth the money|I can recommend it|
        a pleasant surprise|I enjoyed it|it was a good choice|glad I tried it|
        it met my hopes|I am satisfied"""
    ),
    5: _list(
        """I love it|the best I have ever come across|worth every cent|I recommend it to everyone|
        it made my week|I am thrilled|it exceeded all my hopes|I would give six stars if I could|
        an absolute joy|I could not be happier"""
    ),
}
HEADLINES: Final[tuple[str, ...]] = _list(
    """My thoughts|After one month|A short review|First impression|What I found|My honest opinion|Update|
    For anyone unsure|Three weeks later|Some remarks|Read this first|As promised"""
)
OPINIONS: Final[tuple[str, ...]] = _list(
    """The {aspect} is {adjective}|The {aspect} was {adjective}|I found the {aspect} {adjective}|
    The {aspect} turned out {adjective}|To me the {aspect} seemed {adjective}|The {aspect} looked {adjective} to me"""
)
CLOSINGS: Final[tuple[str, ...]] = _list("Overall, {verdict}|In short, {verdict}|All in all, {verdict}|{verdict}")
FILLERS: Final[tuple[str, ...]] = _list(
    """It came up last Tuesday|My sister asked me about it|We were four people|I wrote this on my phone|
    It was raining that day|I had read about it before|My neighbour has the same one|We talked about it at dinner|
    This is my second review|I usually do not write reviews"""
)

GOODS: Final[dict[str, tuple[str, ...]]] = {
    "kitchen": _list(
        "kettle|frying pan|toaster|blender|cutting board|coffee grinder|saucepan|whisk|rolling pin|spatula|teapot|wok"
    ),
    "electronics": _list(
        """headphones|keyboard|monitor|webcam|smartphone|tablet|router|loudspeaker|charger|
        microphone|printer|camera"""
    ),
    "clothing": _list("jacket|sweater|jeans|scarf|raincoat|shirt|socks|gloves|hoodie|skirt|dress|blouse"),
    "toys": _list(
        "puzzle|teddy bear|toy train|building blocks|doll|kite|board game|yo-yo|marbles|puppet|spinning top|dollhouse"
    ),
    "garden": _list(
        """lawn mower|watering can|rake|garden hose|wheelbarrow|flower pot|hedge trimmer|spade|greenhouse|bird feeder|
        compost bin|sprinkler"""
    ),
    "sports": _list(
        "tennis racket|yoga mat|football|dumbbell|skateboard|bicycle helmet|hockey stick|jump rope|surfboard|golf "
        "club|ski goggles|basketball"
    ),
    "books": _list(
        "novel|cookbook|dictionary|atlas|biography|poetry collection|textbook|travel guide|comic book|memoir|"
        "encyclopedia|short stories"
    ),
    "beauty": _list(
        "shampoo|lipstick|face cream|perfume|nail polish|body lotion|mascara|hair dryer|soap bar|sunscreen|"
        "eyeliner|bath oil"
    ),
}
GOODS_ASPECTS: Final[tuple[str, ...]] = _list(
    "packaging|delivery|material|finish|size|colour|smell|manual|design|quality|weight|service"
)
STYLES: Final[tuple[str, ...]] = _list(
    "classic|compact|deluxe|modern|light|red|blue|green|black|white|large|small|premium|basic|handmade|silver"
)
MATERIALS: Final[tuple[str, ...]] = _list("steel|wood|cotton|plastic|glass|leather|bamboo|paper|rubber|wool")
SYLLABLES: Final[tuple[tuple[str, ...], tuple[str, ...]]] = (
    _list("Zen|Mar|Tor|Vel|Kal|Bri|Nor|Sol|Fen|Lum|Dra|Pel|Ost|Rav|Cor|Hal|Jun|Wex|Alt|Quin"),
    _list("tra|vik|lon|dex|mira|sen|ford|nova|lux|ton|bell|ark|eo|wood|stad|ix|mont|ria|gard|une"),
)

GENRES: Final[dict[str, tuple[str, ...]]] = {
    "comedy": _list(
        "a wedding full of pranks|a clumsy waiter and his jokes|two silly brothers on a farce of a holiday|"
        "a stand-up comedian and her funny aunt|an office party with a laughing parrot|a clown who cannot stop joking"
    ),
    "horror": _list(
        "a haunted house and its ghosts|a vampire who stalks a village|zombies that rise from the cemetery|"
        "a demon that possesses a child|a masked killer in the dark woods|a cursed doll that screams"
    ),
    "romance": _list(
        "a love story between two florists|a kiss that changes a summer|old love letters found in an attic|"
        "a pianist who falls in love in Paris|a couple that meets again on Valentine's day|a secret marriage for love"
    ),
    "science fiction": _list(
        "a spaceship lost near Jupiter|robots that learn to dream|an alien ambassador on Earth|"
        "a time machine with one flaw|a colony on Mars|a clone who meets his original"
    ),
    "western": _list(
        "a sheriff and an outlaw in a dusty town|cowboys who drive cattle to Texas|a duel at the saloon|"
        "a gold rush and a stagecoach robbery|a bounty hunter on horseback|a ranch on the frontier"
    ),
    "documentary": _list(
        "a true portrait of a coal miner|interviews with retired astronauts|archive footage of the flood|"
        "real life in a fishing port|facts about honey bees|a filmed record of an election"
    ),
}
MATURE: Final[tuple[str, ...]] = _list(
    "with graphic violence|with bloody scenes|with strong language|with drug use|with nudity|with brutal torture"
)
FAMILY: Final[tuple[str, ...]] = _list(
    "for the whole family|for children|with gentle songs|with cute animals|for young viewers|made for kids"
)
FILM_ASPECTS: Final[tuple[str, ...]] = _list(
    "plot|acting|soundtrack|camera work|ending|dialogue|pacing|costumes|editing|cast|script|scenery"
)
FILM_TITLES: Final[tuple[tuple[str, ...], tuple[str, ...]]] = (
    _list(
        "Silent|Golden|Broken|Hidden|Last|First|Crimson|Distant|Empty|Frozen|Secret|Wild|Lonely|Burning|Paper|Second"
    ),
    _list(
        "River|Garden|Letter|Harbour|Winter|Mirror|Bridge|Orchard|Signal|Island|Station|Voyage|Summer|Door|Valley|Road"
    ),
)

INTENTS: Final[dict[str, tuple[str, ...]]] = {
    "billing": _list(
        "I was charged twice this month|the invoice shows a wrong amount|my credit card was billed too early|"
        "there is a fee on the bill that I do not know|the tax on my invoice is wrong|my payment was booked two times"
    ),
    "shipping": _list(
        "my parcel has not arrived|the courier left the package in the rain|the tracking number does not work|"
        "the delivery went to a wrong address|my order is stuck at customs|the shipment is late by nine days"
    ),
    "login": _list(
        "I cannot sign in to my account|the password reset mail never comes|my account is locked|"
        "the two-factor code is rejected|my username is unknown since today|the login page says access denied"
    ),
    "bug": _list(
        "the app crashes when I open a file|the screen stays blank after the update|the search shows an error 500|"
        "the export button does nothing|the program freezes at start|the chart is drawn upside down"
    ),
    "cancellation": _list(
        "please cancel my subscription|I want to end my contract|close my plan at the end of the month|"
        "I would like to stop my membership|do not renew my plan|please terminate my contract"
    ),
}
URGENT: Final[tuple[str, ...]] = _list(
    "I need this today|this is urgent|please act at once|we are losing customers every hour|it cannot wait|answer right now"
)
PATIENT: Final[tuple[str, ...]] = _list(
    "there is no hurry|take your time|whenever you can|next week is early enough|it can wait|no rush from my side"
)
REFUND: Final[tuple[str, ...]] = _list(
    "I want a refund|please pay the money back|send my money back|I ask for a reimbursement"
)
TONES: Final[dict[str, tuple[str, ...]]] = {
    "negative": _list(
        "I am angry about your service|this is a disgrace|I am fed up with you|your support is a joke to me|"
        "I have lost all trust in you|shame on your company"
    ),
    "neutral": _list(
        "this is for your information|please see the details below|I am writing about my account|"
        "my customer number is on file|please confirm this message|kind regards from the office"
    ),
    "positive": _list(
        "thank you for your great work|I really like your company|you have always been kind to me|"
        "your team is lovely|many thanks and a happy weekend|I appreciate all your help"
    ),
}
AGENT_NOTES: Final[tuple[str, ...]] = _list(
    "asked for a screenshot|sent to second level|customer called before|waiting for a reply|no action yet|closed once"
)
CHANNELS: Final[tuple[str, ...]] = _list("email|phone|chat|web form")
PRIORITIES: Final[tuple[str, ...]] = _list("low|normal|high")
PLANS: Final[tuple[str, ...]] = _list("free|starter|team|business|enterprise")

HOTEL_ASPECTS: Final[tuple[str, ...]] = _list(
    "room|breakfast|staff|pool|bathroom|bed|view|parking|wifi|noise level|lobby|location"
)
HOTEL_NAMES: Final[tuple[str, ...]] = _list("Grand|Park|Sea View|Central|Royal|Old Mill|Station|Garden|Crown|Lakeside")
CITIES: Final[dict[str, str]] = {
    **dict.fromkeys(_list("Paris|Lyon|Nice|Bordeaux"), "France"),
    **dict.fromkeys(_list("Berlin|Munich|Hamburg|Cologne"), "Germany"),
    **dict.fromkeys(_list("Rome|Milan|Naples|Venice"), "Italy"),
    **dict.fromkeys(_list("Tokyo|Osaka|Kyoto|Nagoya"), "Japan"),
    **dict.fromkeys(_list("Madrid|Seville|Valencia|Bilbao"), "Spain"),
    **dict.fromkeys(_list("Toronto|Montreal|Vancouver|Ottawa"), "Canada"),
}
TRAVELLERS: Final[tuple[str, ...]] = _list("family|couple|business|solo|friends")
FIRST_NAMES: Final[tuple[str, ...]] = _list(
    "Anna|Ben|Clara|David|Elena|Felix|Grace|Hugo|Iris|Jonas|Karin|Leo|Mona|Nils|Olga|Paul|Rosa|Simon|Tara|Victor"
)
LAST_NAMES: Final[tuple[str, ...]] = _list(
    "Adler|Brandt|Costa|Dubois|Evans|Fischer|Garcia|Hansen|Ito|Jansen|Keller|Lopez|Moreau|Novak|Olsen|Park|Rossi|Sato"
)

# Field names for practice in looking up: either one of FIELDS or a start with an end.
FIELD_STARTS: Final[tuple[str, ...]] = _list(
    "order_|user_|item_|last_|first_|net_|due_|home_|max_|min_|unit_|x_|new_|old_"
)
FIELD_ENDS: Final[tuple[str, ...]] = _list(
    "id|name|date|city|code|total|group|owner|state|kind|color|size|count|label|team|note"
)
FIELDS: Final[tuple[str, ...]] = _list(
    "id|name|city|country|color|year|team|email|size|weight|owner|status|code|amount|speed|title|author"
)
