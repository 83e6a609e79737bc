"""What things are called, in five languages, with what grammar needs: genders, plurals, a weak noun's dative.

    NOUNS["lion"]["de"]   ->  Noun("Löwe", "Löwen", "m", dative="Löwen", article="ein")
    noun_of("European bear")  ->  "bear"

A table of our own rather than the names of CLDR or of the stamps: a name alone does not say whether it is *ein Löwe* or
*eine Löwe*, and "links von einem Löwen" needs more still.
"""

import functools
from dataclasses import dataclass

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")

# English (and its plural, if it is not regular) | other names that pictures go by | German, its plural, its dative if
# that differs | French, plural | Spanish, plural | Italian, plural. The article shows the gender.
_TABLE = """
circle | | der Kreis, Kreise | un cercle, cercles | un círculo, círculos | un cerchio, cerchi
square | | das Quadrat, Quadrate | un carré, carrés | un cuadrado, cuadrados | un quadrato, quadrati
triangle | | das Dreieck, Dreiecke | un triangle, triangles | un triángulo, triángulos | un triangolo, triangoli
star | | der Stern, Sterne | une étoile, étoiles | una estrella, estrellas | una stella, stelle
cross, crosses | | das Kreuz, Kreuze | une croix, croix | una cruz, cruces | una croce, croci
ring | | der Ring, Ringe | un anneau, anneaux | un anillo, anillos | un anello, anelli
dog | dog face | der Hund, Hunde | un chien, chiens | un perro, perros | un cane, cani
cat | cat face, black cat | die Katze, Katzen | un chat, chats | un gato, gatos | un gatto, gatti
horse | horse face | das Pferd, Pferde | un cheval, chevaux | un caballo, caballos | un cavallo, cavalli
cow | cow face | die Kuh, Kühe | une vache, vaches | una vaca, vacas | una mucca, mucche
pig | pig face, Tamworth pig | das Schwein, Schweine | un cochon, cochons | un cerdo, cerdos | un maiale, maiali
sheep, sheep | ewe | das Schaf, Schafe | un mouton, moutons | una oveja, ovejas | una pecora, pecore
goat | | die Ziege, Ziegen | une chèvre, chèvres | una cabra, cabras | una capra, capre
donkey | | der Esel, Esel | un âne, ânes | un burro, burros | un asino, asini
rabbit | rabbit face, little rabbit | das Kaninchen, Kaninchen | un lapin, lapins | un conejo, conejos | un coniglio, conigli
mouse, mice | mouse face | die Maus, Mäuse | une souris, souris | un ratón, ratones | un topo, topi
fox, foxes | | der Fuchs, Füchse | un renard, renards | un zorro, zorros | una volpe, volpi
bear | European bear | der Bär, Bären, Bären | un ours, ours | un oso, osos | un orso, orsi
lion | happy lion | der Löwe, Löwen, Löwen | un lion, lions | un león, leones | un leone, leoni
tiger | tiger face, Sumatran tiger | der Tiger, Tiger | un tigre, tigres | un tigre, tigres | una tigre, tigri
elephant | | der Elefant, Elefanten, Elefanten | un éléphant, éléphants | un elefante, elefantes | un elefante, elefanti
giraffe | | die Giraffe, Giraffen | une girafe, girafes | una jirafa, jirafas | una giraffa, giraffe
zebra | | das Zebra, Zebras | un zèbre, zèbres | una cebra, cebras | una zebra, zebre
camel | two-hump camel, dromedary | das Kamel, Kamele | un chameau, chameaux | un camello, camellos | un cammello, cammelli
kangaroo | red kangaroo | das Känguru, Kängurus | un kangourou, kangourous | un canguro, canguros | un canguro, canguri
koala | | der Koala, Koalas | un koala, koalas | un koala, koalas | un koala, koala
gorilla | | der Gorilla, Gorillas | un gorille, gorilles | un gorila, gorilas | un gorilla, gorilla
hippopotamus, hippopotamuses | | das Nilpferd, Nilpferde | un hippopotame, hippopotames | un hipopótamo, hipopótamos | un ippopotamo, ippopotami
deer, deer | | der Hirsch, Hirsche | un cerf, cerfs | un ciervo, ciervos | un cervo, cervi
bison, bison | | der Bison, Bisons | un bison, bisons | un bisonte, bisontes | un bisonte, bisonti
beaver | | der Biber, Biber | un castor, castors | un castor, castores | un castoro, castori
otter | | der Otter, Otter | une loutre, loutres | una nutria, nutrias | una lontra, lontre
badger | | der Dachs, Dachse | un blaireau, blaireaux | un tejón, tejones | un tasso, tassi
hedgehog | | der Igel, Igel | un hérisson, hérissons | un erizo, erizos | un riccio, ricci
bat | | die Fledermaus, Fledermäuse | une chauve-souris, chauves-souris | un murciélago, murciélagos | un pipistrello, pipistrelli
whale | spouting whale | der Wal, Wale | une baleine, baleines | una ballena, ballenas | una balena, balene
dolphin | | der Delfin, Delfine | un dauphin, dauphins | un delfín, delfines | un delfino, delfini
shark | | der Hai, Haie | un requin, requins | un tiburón, tiburones | uno squalo, squali
fish, fish | tropical fish, stripey fish | der Fisch, Fische | un poisson, poissons | un pez, peces | un pesce, pesci
crab | | die Krabbe, Krabben | un crabe, crabes | un cangrejo, cangrejos | un granchio, granchi
octopus, octopuses | | der Krake, Kraken, Kraken | une pieuvre, pieuvres | un pulpo, pulpos | un polpo, polpi
frog | | der Frosch, Frösche | une grenouille, grenouilles | una rana, ranas | una rana, rane
snake | | die Schlange, Schlangen | un serpent, serpents | una serpiente, serpientes | un serpente, serpenti
turtle | | die Schildkröte, Schildkröten | une tortue, tortues | una tortuga, tortugas | una tartaruga, tartarughe
snail | happy snail | die Schnecke, Schnecken | un escargot, escargots | un caracol, caracoles | una lumaca, lumache
butterfly, butterflies | | der Schmetterling, Schmetterlinge | un papillon, papillons | una mariposa, mariposas | una farfalla, farfalle
bee | honeybee | die Biene, Bienen | une abeille, abeilles | una abeja, abejas | un'ape, api
ladybug | lady beetle | der Marienkäfer, Marienkäfer | une coccinelle, coccinelles | una mariquita, mariquitas | una coccinella, coccinelle
spider | | die Spinne, Spinnen | une araignée, araignées | una araña, arañas | un ragno, ragni
duck | | die Ente, Enten | un canard, canards | un pato, patos | un'anatra, anatre
owl | | die Eule, Eulen | un hibou, hiboux | un búho, búhos | un gufo, gufi
penguin | little penguin, Magellanic penguin | der Pinguin, Pinguine | un manchot, manchots | un pingüino, pingüinos | un pinguino, pinguini
turkey | | der Truthahn, Truthähne | un dindon, dindons | un pavo, pavos | un tacchino, tacchini
rooster | colorful rooster | der Hahn, Hähne | un coq, coqs | un gallo, gallos | un gallo, galli
flamingo | pink flamingo | der Flamingo, Flamingos | un flamant, flamants | un flamenco, flamencos | un fenicottero, fenicotteri
apple | red apple, green apple | der Apfel, Äpfel | une pomme, pommes | una manzana, manzanas | una mela, mele
pear | yellow pear | die Birne, Birnen | une poire, poires | una pera, peras | una pera, pere
banana | | die Banane, Bananen | une banane, bananes | un plátano, plátanos | una banana, banane
lemon | yellow lemon | die Zitrone, Zitronen | un citron, citrons | un limón, limones | un limone, limoni
pineapple | | die Ananas, Ananas | un ananas, ananas | una piña, piñas | un ananas, ananas
peach, peaches | | der Pfirsich, Pfirsiche | une pêche, pêches | un melocotón, melocotones | una pesca, pesche
strawberry, strawberries | | die Erdbeere, Erdbeeren | une fraise, fraises | una fresa, fresas | una fragola, fragole
mango, mangoes | | die Mango, Mangos | une mangue, mangues | un mango, mangos | un mango, manghi
carrot | | die Karotte, Karotten | une carotte, carottes | una zanahoria, zanahorias | una carota, carote
eggplant | | die Aubergine, Auberginen | une aubergine, aubergines | una berenjena, berenjenas | una melanzana, melanzane
onion | | die Zwiebel, Zwiebeln | un oignon, oignons | una cebolla, cebollas | una cipolla, cipolle
mushroom | brown mushroom | der Pilz, Pilze | un champignon, champignons | una seta, setas | un fungo, funghi
pizza | quarter of pizza | die Pizza, Pizzas | une pizza, pizzas | una pizza, pizzas | una pizza, pizze
cake | birthday cake, pink cake | der Kuchen, Kuchen | un gâteau, gâteaux | una tarta, tartas | una torta, torte
rose | | die Rose, Rosen | une rose, roses | una rosa, rosas | una rosa, rose
sunflower | | die Sonnenblume, Sonnenblumen | un tournesol, tournesols | un girasol, girasoles | un girasole, girasoli
palm tree | | die Palme, Palmen | un palmier, palmiers | una palmera, palmeras | una palma, palme
cactus, cacti | | der Kaktus, Kakteen | un cactus, cactus | un cactus, cactus | un cactus, cactus
car | automobile, sedan car, sports car, VW Beetle | das Auto, Autos | une voiture, voitures | un coche, coches | un'auto, auto
bus, buses | green bus, double decker bus | der Bus, Busse | un bus, bus | un autobús, autobuses | un autobus, autobus
fire engine | fire truck | das Feuerwehrauto, Feuerwehrautos | un camion de pompiers, camions de pompiers | un camión de bomberos, camiones de bomberos | un'autopompa, autopompe
tractor | | der Traktor, Traktoren | un tracteur, tracteurs | un tractor, tractores | un trattore, trattori
bicycle | | das Fahrrad, Fahrräder | un vélo, vélos | una bicicleta, bicicletas | una bicicletta, biciclette
motorcycle | | das Motorrad, Motorräder | une moto, motos | una moto, motos | una moto, moto
airplane | small airplane | das Flugzeug, Flugzeuge | un avion, avions | un avión, aviones | un aereo, aerei
helicopter | | der Hubschrauber, Hubschrauber | un hélicoptère, hélicoptères | un helicóptero, helicópteros | un elicottero, elicotteri
rocket | | die Rakete, Raketen | une fusée, fusées | un cohete, cohetes | un razzo, razzi
sailboat | | das Segelboot, Segelboote | un voilier, voiliers | un velero, veleros | una barca a vela, barche a vela
locomotive | steam locomotive | die Lokomotive, Lokomotiven | une locomotive, locomotives | una locomotora, locomotoras | una locomotiva, locomotive
hammer | | der Hammer, Hämmer | un marteau, marteaux | un martillo, martillos | un martello, martelli
key | old key | der Schlüssel, Schlüssel | une clé, clés | una llave, llaves | una chiave, chiavi
umbrella | | der Regenschirm, Regenschirme | un parapluie, parapluies | un paraguas, paraguas | un ombrello, ombrelli
candle | lit candle | die Kerze, Kerzen | une bougie, bougies | una vela, velas | una candela, candele
light bulb | lightbulb | die Glühbirne, Glühbirnen | une ampoule, ampoules | una bombilla, bombillas | una lampadina, lampadine
camera | | die Kamera, Kameras | un appareil photo, appareils photo | una cámara, cámaras | una macchina fotografica, macchine fotografiche
teapot | | die Teekanne, Teekannen | une théière, théières | una tetera, teteras | una teiera, teiere
chair | | der Stuhl, Stühle | une chaise, chaises | una silla, sillas | una sedia, sedie
tent | | das Zelt, Zelte | une tente, tentes | una tienda de campaña, tiendas de campaña | una tenda, tende
trumpet | | die Trompete, Trompeten | une trompette, trompettes | una trompeta, trompetas | una tromba, trombe
violin | | die Geige, Geigen | un violon, violons | un violín, violines | un violino, violini
guitar | classical guitar, electric guitar | die Gitarre, Gitarren | une guitare, guitares | una guitarra, guitarras | una chitarra, chitarre
drum | | die Trommel, Trommeln | un tambour, tambours | un tambor, tambores | un tamburo, tamburi
soccer ball | | der Fußball, Fußbälle | un ballon de football, ballons de football | un balón de fútbol, balones de fútbol | un pallone da calcio, palloni da calcio
basketball | | der Basketball, Basketbälle | un ballon de basket, ballons de basket | un balón de baloncesto, balones de baloncesto | un pallone da basket, palloni da basket
trophy, trophies | trophy cup | der Pokal, Pokale | un trophée, trophées | un trofeo, trofeos | un trofeo, trofei
crown | | die Krone, Kronen | une couronne, couronnes | una corona, coronas | una corona, corone
top hat | | der Zylinder, Zylinder | un haut-de-forme, hauts-de-forme | una chistera, chisteras | un cilindro, cilindri
scarf, scarves | | der Schal, Schals | une écharpe, écharpes | una bufanda, bufandas | una sciarpa, sciarpe
snowman, snowmen | snowman without snow | der Schneemann, Schneemänner | un bonhomme de neige, bonshommes de neige | un muñeco de nieve, muñecos de nieve | un pupazzo di neve, pupazzi di neve
castle | fairytale castle | die Burg, Burgen | un château, châteaux | un castillo, castillos | un castello, castelli
house | Swiss house | das Haus, Häuser | une maison, maisons | una casa, casas | una casa, case
bell | | die Glocke, Glocken | une cloche, cloches | una campana, campanas | una campana, campane
alarm clock | | der Wecker, Wecker | un réveil, réveils | un despertador, despertadores | una sveglia, sveglie
book | closed book, green book, blue book, orange book | das Buch, Bücher | un livre, livres | un libro, libros | un libro, libri
backpack | | der Rucksack, Rucksäcke | un sac à dos, sacs à dos | una mochila, mochilas | uno zaino, zaini
balloon | | der Luftballon, Luftballons | un ballon, ballons | un globo, globos | un palloncino, palloncini
"""  # noqa: E501

_GENDERS = {"der": "m", "die": "f", "das": "n", "un": "m", "une": "f", "una": "f", "uno": "m", "un'": "f"}


@dataclass(frozen=True)
class Noun:
    """One noun in one language.   article: the indefinite one, as it stands before the noun"""

    singular: str
    plural: str
    gender: str
    article: str
    dative: str


def _rows():
    for line in _TABLE.strip().splitlines():
        english, others, *foreign = (cell.strip() for cell in line.split("|"))
        name, *plural = (part.strip() for part in english.split(","))
        aliases = [alias.strip().lower() for alias in others.split(",") if alias.strip()]
        yield name, plural[0] if plural else name + "s", aliases, foreign


def _foreign(cell):
    singular, plural, *dative = (part.strip() for part in cell.split(","))
    article, singular = ("un'", singular[3:]) if singular.startswith("un'") else singular.split(" ", 1)
    gender = _GENDERS[article]
    article = ("eine" if gender == "f" else "ein") if article in ("der", "die", "das") else article
    return Noun(singular, plural, gender, article, dative[0] if dative else singular)


@functools.cache
def _nouns():
    nouns, names = {}, {}
    for name, plural, aliases, cells in _rows():
        article = "an" if name[0] in "aeiou" else "a"
        nouns[name] = {"en": Noun(name, plural, "n", article, name)}
        nouns[name] |= {
            language: _foreign(cell) for language, cell in zip(("de", "fr", "es", "it"), cells, strict=True)
        }
        names |= dict.fromkeys([name, *aliases], name)
    return nouns, names


NOUNS, _NAMES = _nouns()
WORDS = tuple(
    n for n in NOUNS if " " not in n and n not in SHAPES and len(n) <= 6
)  # what a picture may have written in it


def noun_of(name):
    """The noun for a name that a picture goes by ("European bear" -> "bear"); None where the table has none."""
    noun = _NAMES.get(name.strip().lower())
    return None if noun in SHAPES else noun
