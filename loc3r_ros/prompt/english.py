"""Common English words, so that a small tokenizer also reads what people say beyond the words of its training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_TEXT = """
a able about above across act add afraid after again against age ago agree air all allow almost alone along already
also although always am among amount an and angle animal another answer any anyone anything apart appear area arm
around arrive art as ask at attention aunt away baby back backward bad bag ball bank bar base basket bath bathroom be
bear beat beautiful because become bed bedroom before began begin behind being believe bell below bench beneath beside
best better between beyond big bike bin bird bit black blanket blue board boat body book born both bottle bottom bowl
box boy brand bread break breakfast bridge bright bring broken brother brown brush build building burn bus busy but buy
by cabinet cable call came camera can candle car card care carpet carry cart case cat catch cause ceiling center centre
certain chair chance change charge check child children choose circle city class clean clear climb clock close cloth
clothes cloud coat coffee cold color colour come common complete computer consider contain continue control cook cool
copy corner correct corridor cost couch could count country couple course cover cross crowd cry cup cupboard current
curtain cushion cut dance danger dark date daughter day dead deal dear decide deep degree degrees depend describe desk
detail did differ difference different difficult dinner direct direction dish distance divide do does dog done door
doorway double doubt down draw drawer dream dress drink drive drop dry during dust duty each ear early earth east easy
eat edge eight either electric eleven else empty end energy engine enjoy enough enter entire equal even evening event
ever every everyone everything exact example except exit expect explain eye face facing fact fall family famous fan far
farther farthest fast father favor fear feel feet fell felt few field fifteen fifty fight figure fill film final find
fine finger finish fire first fish fit five fix flat floor flower fly fold follow food foot for force forget form
forward found four frame free fresh friend from front fruit full furniture furthest future game garden gate gave
general get gift girl give glad glass go gold gone good grass gray great green grey ground group grow guess guest had
hair half hall hallway hand hang happen happy hard has hat have he head hear heard heart heat heavy height held hello
help her here hidden high hill him his hit hold hole home hope horse hot hour house how however huge human hundred
hurry i ice idea if image imagine important in inch include indeed inside instead interest into iron is island it item
its itself job join jump just keep kettle key kind kitchen knee knife knock know lamp land language laptop large last
late laugh lay lead leaf learn least leave led left leg length less let letter level lie life lift light like likely
line list listen little live living locate long longer longest look lost lot loud love low lower lunch machine made
main make man many map mark mat matter may maybe me mean measure meet men metal meter metre metres microwave middle
might mile milk mind minute mirror miss modern moment money monitor month moon more morning most mother mouth move much
music must my name narrow near nearby nearer nearest necessary need neighbor never new news next nice night nine no
nobody noise none noon nor north nose not note nothing notice now number object observe of off offer office often oil
old on once one only onto open opposite or orange order other our out outside oven over own page paint painting pair
paper parallel parent part party pass past path pattern pay pen people perhaps person phone photo piano pick picture
piece pillow pink pipe place plain plan plane plant plate play please point poor position possible pot power practice
prepare present press pretty print probably problem produce promise proper pull purple push put quarter question quick
quiet quite race radio rain ran reach read ready real really rear reason receive record rectangle red refrigerator
remain remember repeat reply rest result return ride right ring rise river road robot rock roll roof room rope round
row rug rule run safe said same sat save saw say school screen sea seat second see seem seen self sell send sense sent
serve set seven several shade shape share sharp she sheet shelf ship shirt shoe shoes shop short should shoulder shout
show shower shut side sign silver simple since sing sink sister sit site six size skin sky sleep slow small smaller
smart smell smile smooth snow so sofa soft some someone something sometimes son song soon sort sound south space speak
special speed spend spoke spoon spot square stair stairs stand star start state station stay steel step stick still
stone stood stool stop store story stove straight strange street strong student study such sudden suit summer sun sure
surface surprise sweet swim switch table take talk tall taste tea teach team telephone television tell ten test than
thank that the their them then there these they thick thin thing things think third thirty this those though thought
thousand three through throw till time tiny tired to today together toilet told tomorrow too took tool tooth top total
touch toward towards towel tower town toy train trash travel tree triangle trip trouble true try turn turned turning
tv twelve twenty twice two type under understand unit until up upon upper us use usual valley value vase very view
visible visit voice wait walk wall want wardrobe warm was wash washer watch water wave way we wear weather week weight
well went were west wet what wheel when where whether which while white who whole whose why wide width wife wild will
wind window wine winter wire wish with within without woman wonder wood wooden word work world worn worth would write
wrong yard year yellow yes yesterday yet you young your zero
"""

COMMON_WORDS = tuple(_TEXT.split())


def word_corpus(words: Iterable[str], weight: int = 1) -> Iterator[str]:
    """Yield texts from which a tokenizer learns whole words: inside a sentence, and at its beginning.

    Args:
        words: words in lower case.
        weight: how often each counts inside a sentence; its capitalised form counts once.
    """
    for word in words:
        yield f" {word}" * weight
        yield word.capitalize()
