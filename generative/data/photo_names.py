"""Which files of the packages are photographs: every picture of 200 pixels or more was looked at.

Left out: drawings, paintings, screenshots, objects cut out on white or transparent ground, renderings, and pictures
with few colours. gcompris-qt-data has one Qt resource file per activity (the first part of the folder's name)."""

_NAMES = {
    "gcompris-qt-data": {
        "categorization/resource/images/tools": """
            hammer1.webp hammer3.webp hammer4.webp hammer6.webp measuringTape5.webp measuringTape6.webp
            multimeter2.webp nailCutter.webp plier4.webp scissors2.webp scissors3.webp screwDriver.webp
            screwDriver1.webp screwDriver2.webp sickle.webp sideCutter1.webp
        """,
        "categorization/resource/images/renewable": """
            dam1.webp dam2.webp dam3.webp dam4.webp dam5.webp geothermal.webp solar1.webp solar2.webp
            solar3.webp solar4.webp solar5.webp solar7.webp solar8.webp windmill.webp windmill1.webp
            windmill11.webp windmill12.webp windmill13.webp windmill14.webp windmill15.webp windmill2.webp
            windmill3.webp windmill4.webp windmill5.webp windmill6.webp windmill7.webp windmill8.webp
            windmill9.webp
        """,
        "categorization/resource/images/monuments": """
            IndiaGate.webp arcDeTriomphe.webp bayterek.webp brandenburgGate.webp burj.webp cathedral.webp
            christTheRedeemer.webp colosseum.webp empireState.webp greatPyramid.webp greatWall.webp
            kutubMinar.webp leaningTowerOfPisa.webp monument1.webp monument2.webp monument3.webp
            mountRushmore.webp operaHouse.webp parthenon.webp statueOfLiberty.webp tajMahal.webp
            usCapitol.webp victoriaMemorial.webp zimniPalace.webp
        """,
        "categorization/resource/images/fishes": """
            fish1.webp fish10.webp fish11.webp fish12.webp fish13.webp fish14.webp fish15.webp fish16.webp
            fish18.webp fish19.webp fish2.webp fish20.webp fish21.webp fish22.webp fish23.webp fish24.webp
            fish25.webp fish26.webp fish27.webp fish28.webp fish3.webp fish4.webp fish5.webp fish6.webp
            fish7.webp fish9.webp
        """,
        "categorization/resource/images/others": """
            baseball.webp bucket.webp buffetset.webp bulb.webp chair.webp cup.webp igloo.webp knife.webp
            pan.webp pillow.webp plate.webp spoons.webp
        """,
        "clickgame/resource": """
            sea1.webp sea2.webp sea3.webp sea4.webp sea5.webp sea6.webp
        """,
        "details/resource/image": """
            Chenonceau_background.webp EgeskovSlotSpejling_background.webp EilanDonanCastle_background.webp
            FanoeWindmill_background.webp GizahPyramids_background.webp Louvre_2007_02_24_c_background.webp
            NDP_background.webp Nagoya_background.webp Neuschwanstein_background.webp
            OperaSidney_background.webp TajMahal_background.webp TourEiffel_background.webp
            TowerBridgeLondon_background.webp
        """,
        "erase/resource": """
            alpaca.webp bee.webp butterfly.webp calf.webp camels.webp caterpillar.webp chamaeleon.webp
            cheetah.webp crab.webp dolphin.webp flying_fox.webp gibbon.webp giraffe.webp goat.webp
            gorilla.webp gosling.webp heron.webp horse.webp kingfisher.webp kitten.webp
            long_nosed_monkey.webp macaque.webp meerkats.webp northern_harrier.webp nubian_ibex.webp
            penguin.webp pika.webp red_panda.webp rhinoceros.webp spoonbills.webp squirrel.webp swans.webp
            toucan.webp
        """,
        "explore_farm_animals/resource/animals": """
            cat.webp chicken.webp cow.webp dog.webp duck.webp horse.webp owl.webp pig.webp sheep.webp
        """,
        "explore_monuments/resource/usa": """
            cabrillo.webp canyondeChelly.webp castillodeSanMarcos.webp castleClinton.webp fortSumter.webp
            georgeWashingtonBirthplace.webp lincolnMemorial.webp mountRushmore.webp navajo.webp
            statueofLiberty.webp
        """,
        "explore_monuments/resource/egypt": """
            bentPyramid.webp greatPyramidOfGiza.webp meidumPyramid.webp redPyramid.webp
        """,
        "explore_monuments/resource/india": """
            ajantaCave.webp charminar.webp gatewayofIndia.webp goldenTemple.webp greatStupa.webp
            hawaMahal.webp konarkSunTemple.webp mysorePalace.webp qutubMinar.webp rangGhar.webp
            victoriaMemorial.webp
        """,
        "explore_monuments/resource/france": """
            arlesAmphitheater.webp chateaudeChambord.webp chateaudeChenonceau.webp citedeCarcassonne.webp
            eiffelTower.webp montStMichel.webp palaisdesPapes.webp pontduGard.webp reimsCathedral.webp
            rocamadour.webp
        """,
        "explore_monuments/resource/germany": """
            aulaPalatina.webp berlinCathedral.webp brandenburgGate.webp neuschwansteinCastle.webp
            schwerinPalace.webp trierImperialBaths.webp wormsCathedral.webp
        """,
        "explore_monuments/resource/wonders": """
            chichenItza.webp christTheRedeemer.webp colosseum.webp greatWallofChina.webp machuPicchu.webp
            petra.webp tajMahal.webp
        """,
        "explore_world_animals/resource/animals": """
            bison.webp chameleon.webp crocodile.webp dragon.webp giraffe.webp hedgehog.webp jaguar.webp
            kangaroo.webp koala.webp lemur.webp moose.webp narwhal.webp panda.webp polar_bear.webp
            scarlet_macaw.webp
        """,
        "explore_world_music/resource/music": """
            africa.webp america.webp australia.webp ireland.webp italy.webp japan.webp mexico.webp
            middleeast.webp orchestra.webp
        """,
        "louis-braille/resource": """
            braille.webp braille_ball.webp fireplace.webp rnib.webp statue.webp teach.webp workshop.webp
        """,
    },
    "lomiri-wallpapers-16.04": {
        "usr/share/backgrounds": """
            Bridge_by_Sander_Klootwijk.jpg Dragonfly_by_Bolly.jpg Picture_0B_by_freespace.jpg
            Picture_1A_by_freespace.jpg Wine_by_Jakkub_Mede.jpg aitzgorri_by_Aitzol_Berasategi.jpg
            free_by_Peter_Nerlich.jpg friends_by_Aitzol_Berasategi.jpg greentock_by_Peter_Nerlich.jpg
            life_by_Aitzol_Berasategi.jpg picosdeeuropa_by_Aitzol_Berasategi.jpg
            seeding_by_Clements_Engelhardt.jpg sunset_by_Aitzol_Berasategi.jpg
        """,
    },
    "lxqt-themes": {
        "usr/share/lxqt/wallpapers": """
            Butterfly-Kenneth-Wimer.jpg Valendas.png after-the-rain.jpg appleflower.png beam.png
            butterfly.png cloud.png drop.png flowers.png fog.jpg this-is-not-windows.jpg
        """,
    },
    "mate-backgrounds": {
        "usr/share/backgrounds/mate/nature": """
            Aqua.jpg Blinds.jpg Dune.jpg FreshFlower.jpg Garden.jpg GreenMeadow.jpg LadyBird.jpg
            RainDrops.jpg Storm.jpg TwoWings.jpg Wood.jpg YellowFlower.jpg
        """,
    },
    "scratch": {
        "usr/share/scratch/Media/Backgrounds/Indoors": """
            clothing-store.jpg hall.jpg kitchen.jpg the-movies-inside.jpg
        """,
        "usr/share/scratch/Media/Backgrounds/Nature": """
            beach-malibu.jpg canyon.jpg flower-bed.jpg forest.jpg garden-rock.jpg grand-canyon.jpg
            gravel-desert.jpg hill.jpg lake.jpg moon.jpg pathway.jpg tree.jpg water-and-rocks.jpg wave.jpg
        """,
        "usr/share/scratch/Media/Backgrounds/Outdoors": """
            all-sports-mural.jpg atom-playground.jpg bench-with-view.jpg berkeley-mural.jpg boardwalk.jpg
            brick-wall-and-stairs.jpg brick-wall2.jpg building-at-mit.jpg building-fireproof.jpg castle.jpg
            city-with-water.jpg city-with-water2.jpg driveway.jpg hallway_outdoors.jpg hay_field.jpg
            houses.jpg mansion.jpg mural-faro.jpg parking-ramp.jpg pool.jpg route66.jpg silos.jpg
            the-movies.jpg train-tracks1.jpg train-tracks2.jpg village.jpg wooden-house.jpg
        """,
        "usr/share/scratch/Media/Backgrounds/Sports": """
            baseball-field.jpg basketball-court1-a.jpg basketball-court1-b.jpg football-field.jpg
            playing-field.jpg tennis-backboard.jpg
        """,
    },
}

PHOTOS: dict[str, dict[str, tuple[str, ...]]] = {
    package: {folder: tuple(names.split()) for folder, names in folders.items()} for package, folders in _NAMES.items()
}
"""Package -> folder -> file names."""
