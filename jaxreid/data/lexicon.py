"""A part-of-speech tagger for descriptions of people that needs no downloaded data.

Words are looked up in a lexicon of this domain, unknown ones are tagged by their suffix. The tags
are those of the Penn Treebank, as far as noun phrases need them.

Noun phrases of two words and more (exact spans, after the rules of `phrases` that both share)
agree with those of nltk's perceptron tagger to F1 0.96 on the CUHK-PEDES val captions and to 0.98
on those of RSTPReid.
"""

import functools
from collections.abc import Callable, Sequence

# Words by tag. A word with several uses has the one of captions: "back" and "right" as in "on
# his back", "right hand"; "left" is an adjective; "jean" and "tennis" stand before nouns.
LEXICON = {
    "NN": """
        man woman person boy girl lady guy gentleman male female child kid adult teenager
        student pedestrian individual human worker officer someone somebody something subject
        mother father toddler couple crowd group friend camera image picture photo hair head
        face forehead eye ear nose mouth lip chin cheek neck throat shoulder arm elbow forearm
        wrist hand finger palm thumb chest breast stomach belly waist hip body torso leg thigh
        knee calf shin ankle foot heel toe skin complexion beard mustache moustache goatee
        stubble sideburn bang fringe braid bun ponytail pony tail pigtail dreadlock afro bob
        mohawk buzz hairstyle haircut cut hairline wig lock strand shirt t-shirt tshirt t tee
        undershirt top blouse tunic polo sweater sweatshirt jumper pullover cardigan hoodie
        hoody turtleneck tank camisole cami crop vest waistcoat jersey uniform jacket coat
        overcoat raincoat trench windbreaker parka anorak puffer blazer suit tuxedo robe gown
        dress sundress skirt miniskirt kilt apron jumpsuit overall romper poncho shawl cape
        cloak sari kimono outfit clothing garment attire apparel clothe costume outerwear layer
        ensemble swimsuit bikini underwear bra pajama pant jean denim trouser slack legging
        jegging stocking capri cargo chino sweatpant jogger bottom bermuda shoe sneaker trainer
        boot sandal slipper flip flop flip-flop pump loafer moccasin clog wedge oxford footwear
        sock sole lace shoelace strap tennis stiletto converse nike adidas puma vans hat cap
        beanie visor helmet hood headband bandana headscarf turban scarf tie necktie bow bowtie
        glove mitten belt buckle spectacle sunglass eyewear eyeglass mask watch wristwatch
        bracelet bangle wristband ring earring necklace pendant chain lanyard badge tag id
        jewelry jewellery accessory headphone earphone earbud earpiece headset bag backpack pack
        rucksack knapsack bookbag handbag hand-bag purse pocketbook wallet clutch satchel
        messenger tote briefcase suitcase luggage case duffel duffle sling crossbody fanny pouch
        sack basket cart trolley stroller carriage box package parcel folder file paper
        newspaper magazine book notebook binder document envelope map laptop tablet computer
        phone cellphone smartphone cell telephone device bottle water cup mug coffee drink
        beverage tea glass food snack ice cream umbrella parasol cane stick crutch wheelchair
        bicycle bike scooter motorcycle motorbike skateboard car vehicle bus train racket ball
        dog cat flower bouquet toy balloon towel blanket cloth handkerchief tissue key card
        object item thing tool bucket broom rope wire cord cigarette color colour shade tone hue
        tint pattern design print stripe stripes plaid check dot polka logo emblem symbol letter
        lettering writing word text number graphic cartoon character leaf heart star line circle
        diamond camouflage camo embroidery sequin ruffle trim printing trimming border edge hem
        cuff collar lapel neckline v-neck crew sleeve sleeves button zipper zip pocket seam
        lining pleat patch stitching accent detail detailing highlight band panel section part
        piece portion material fabric cotton wool leather suede silk satin linen mesh nylon
        plastic velvet corduroy fleece fur knit canvas metal rubber wood straw gold bronze
        copper front side rear end center centre length width size height style kind shape form
        appearance expression pose posture position direction way distance street road sidewalk
        walkway path pavement crosswalk curb ground floor grass field park stair staircase step
        escalator ramp railing rail fence wall door doorway entrance exit building house store
        shop mall market restaurant office station airport school campus hallway corridor room
        lobby area place scene background foreground parking lot bench chair table counter
        window sign pole post tree plant bush day night time moment summer winter spring weather
        rain sun conversation call age year build stature frame figure weight shopping hiking
        shoulder-bag business sport basketball baseball football soccer gym yoga track military
        army mid-thigh medium-build
    """,
    "NNS": """
        men women people children feet teeth knees stairs clothes pants jeans shorts trousers
        slacks khakis glasses eyeglasses sunglasses goggles capris tights leggings bangs ladies
        headphones earphones flip-flops briefs denims jeggings sweatpants joggers overalls soles
        laces
    """,
    "JJ": """
        short long medium mid midi mini big large small little tiny huge wide narrow thick thin
        slim skinny slender stocky chubby heavy heavyset fat overweight obese muscular athletic
        fit petite average tall lean bulky plump young old older younger elderly middle-aged
        aged teenage asian caucasian african american african-american hispanic indian chinese
        european western fair dark-skinned light-skinned pale tan straight curly wavy frizzy
        spiky messy bald balding shaved loose tight tight-fitting loose-fitting fitted baggy
        casual formal sporty dressy fancy plain simple solid stylish fashionable modern
        traditional classic vintage trendy elegant smart professional comfortable warm cool cold
        hot lightweight light-weight sheer see-through transparent translucent shiny glossy
        matte metallic sparkly glittery furry fuzzy fluffy soft hard rough smooth silky wooly
        woolen knitted woven quilted padded puffy insulated waterproof ripped torn faded
        distressed washed stonewashed wrinkled dirty muddy clean wet dry new neat nice beautiful
        pretty attractive handsome cute good open closed unbuttoned buttoned zipped unzipped
        button-up button-down zip-up lace-up slip-on pull-over round-neck crew-neck high-neck
        collarless strapless backless short-sleeve long-sleeve half-sleeve full-sleeve
        half-sleeved full-sleeved sleeved three-quarter quarter half full knee-length
        ankle-length full-length mid-length knee-high thigh-high ankle-high mid-calf calf-length
        thigh-length floor-length shoulder-length waist-length chin-length short-haired
        long-haired haired high low high-heeled high-heel low-heeled heeled flat pointed pointy
        open-toe open-toed closed-toe strappy chunky left right upper lower inner outer single
        double multiple several few many various different same similar other own main whole
        entire complete partial extra additional certain unidentified primary
        neutral neon fluorescent vibrant vivid deep faint dull muted pastel royal charcoal
        maroon mustard peach coral rust rusty salmon mauve magenta rose wine mint forest sky
        baby jet sandy auburn chestnut brunette ginger reddish-brown black-and-white
        black-framed two-toned two-tone multi-colored multi-coloured multi monochrome tie-dye
        tie-dyed camouflaged argyle paisley gingham tartan geometric abstract horizontal
        vertical diagonal decorative ornate oversized middle brief quick busy happy serious
        electronic digital mobile cellular portable reusable empty filled rectangular round
        square circular oval triangular v-shaped upright sleek wooden woollen
    """,
    "VBN": """
        dressed tied pulled worn rolled tucked draped slung wrapped cropped styled combed swept
        braided held carried placed hung raised bent crossed folded stripped attached decorated
        adorned accented trimmed lined layered seen shown made
    """,
    "VBG": """
        wearing carrying holding walking standing sitting running riding looking facing talking
        speaking texting using reading smiling pushing pulling dragging having showing going
        coming moving turning leaning bending crossing climbing stepping waiting posing eating
        drinking smoking listening watching staring sporting featuring hanging being covering
        reaching touching matching playing pointing swinging approaching entering leaving
        heading strolling jogging traveling according including everything nothing
    """,
    "VBZ": """
        is was has had does did wears carries holds takes lifts gives walks stands sits runs
        rides looks faces talks appears seems goes comes moves keeps hangs covers reaches
        features uses reads pushes pulls rests falls ends matches shows stares leans turns
        displays consists comprises contains includes belongs steps says touches flows lies
    """,
    "VB": """
        be been am are were have do wear carry hold walk stand sit run look talk appear seem go
        come move keep hang reach can could may might will would shall should must match use
        show see wore walked stood sat looked got get gets put puts
    """,
    "IN": """
        in on at of off with without to from for by over under above below beneath underneath
        behind beside besides between across around about along through into onto out up down
        near next toward towards upon inside outside within against as like than while when
        where because since if though although until before after during among amongst past per
        via despite w atop
    """,
    "DT": """
        a an the this that these those some any each every either neither both no another all
    """,
    "PRP": """
        i he she it they we you him her them his hers its their theirs my your our us me himself
        herself itself themselves who whom whose which what
    """,
    "CC": """
        and or & but nor plus
    """,
    "CD": """
        one two three four five six seven eight nine ten eleven twelve twenty thirty forty
    """,
    "RB": """
        not very also too so just only quite rather really slightly somewhat almost nearly well
        together away apart forward forwards backward backwards ahead alone here there then now
        still already again once twice maybe perhaps possibly probably likely mostly mainly
        partly partially fully completely currently casually formally neatly loosely tightly
        back even how more most less least much sideways upside half-way halfway downward
        downwards upward upwards else instead possible
    """,
}

_LONGEST_WORD = 40

# Suffixes of words that the lexicon does not hold, first match wins; the last line takes all.
SUFFIXES = (
    (r"^[^\w]+$", "."),
    (r"^\d+([.,/:-]\d+)*(st|nd|rd|th|s)?$", "CD"),
    (r".*-(length|sleeved?|necked|neck|styled?|high|haired|colou?red|toned?|fitting)$", "JJ"),
    (r".*-(top|shirt|bag|strap|hand|pants?|shoes?|phone|pack|back|body|tail)$", "NN"),
    (r".*(ly)$", "RB"),
    (r".*ing$", "VBG"),
    (r".*(ed|en)$", "VBN"),
    (r".*(ish|less|ful|ous|able|ible|ive|ical|esque|y-colou?red)$", "JJ"),
    (r".*[^s]s$", "NNS"),
    (r".*", "NN"),
)


def make_tag() -> Callable[[Sequence[str]], list[str]]:
    """Returns a function words -> tags, from nltk's UnigramTagger backed off to suffixes."""
    from nltk.tag import RegexpTagger, UnigramTagger  # only here: nltk imports in a second

    model = {word: tag for tag, words in LEXICON.items() for word in words.split()}
    tagger = UnigramTagger(model=model, backoff=RegexpTagger(SUFFIXES))

    # Both taggers look at one word at a time, so a word needs tagging once. nltk limits the time
    # of a pattern, which the end of a word keeps short for any text.
    @functools.lru_cache(maxsize=65_536)
    def tag_word(word: str) -> str:
        return tagger.tag([word[-_LONGEST_WORD:]])[0][1]

    return lambda words: [tag_word(word) for word in words]
