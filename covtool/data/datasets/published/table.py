"""The layouts in which data sets for classification are published, a row each."""

from covtool.data.datasets.found_images import FoundImages
from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.layout_row import LayoutRow
from covtool.data.datasets.published.aircraft import LEVELS, read_aircraft
from covtool.data.datasets.published.birds import read_birds
from covtool.data.datasets.published.caltech import read_caltech
from covtool.data.datasets.published.cars import PLACES, TRAIN, read_car_folders, read_car_list
from covtool.data.datasets.published.coco import LISTS, holds_coco, is_coco, read_coco
from covtool.data.datasets.published.dogs import read_dogs
from covtool.data.datasets.published.food import read_food
from covtool.data.datasets.published.image_folder import holds_metadata, read_image_folder
from covtool.data.datasets.published.imagenet import (
    DEVKITS,
    SOLUTION,
    TRUTH,
    holds_loose_validation,
    is_noisy_list,
    read_devkit,
    read_kaggle,
    read_noisy,
    read_tiny,
)
from covtool.data.datasets.published.oxford import read_flowers, read_pets, read_textures
from covtool.data.datasets.published.path_lists import (
    LIST_PLACES,
    holds_path_lists,
    is_path_list,
    read_path_list,
    read_path_lists,
)
from covtool.data.datasets.published.record_folders import holds_shards, read_shards, read_tables
from covtool.data.datasets.published.scenes import read_places, read_sun
from covtool.registry import Registry

NUMBERED = ("images.txt", "image_class_labels.txt|train_test_split.txt", "images/")

# At most one row fits a data set: where the files of one are among those of another, `without` or
# `confirmed` tells them apart.
PUBLISHED: Registry[LayoutRow[FoundImages | DataLayout]] = Registry(
    "published layout",
    (
        LayoutRow(
            name="cub-200-2011",
            summary="images/, images.txt, image_class_labels.txt, train_test_split.txt, "
            "classes.txt",
            source="Wah, Branson, Welinder, Perona, Belongie. Caltech-UCSD Birds-200-2011, 2011",
            splits="train and test by train_test_split.txt",
            markers=NUMBERED,
            without=("hierarchy.txt",),
            read=read_birds,
            options=("crop",),
        ),
        LayoutRow(
            name="nabirds",
            summary="the files of CUB-200-2011, and hierarchy.txt; images with long names",
            source="Van Horn et al. Building a bird recognition app and large scale dataset, "
            "CVPR 2015",
            splits="train and test by train_test_split.txt",
            markers=(*NUMBERED, "hierarchy.txt"),
            read=read_birds,
            options=("crop",),
        ),
        LayoutRow(
            name="stanford-cars",
            summary="cars_train/, cars_test/, cars_train_annos.mat, "
            "cars_test_annos_withlabels.mat, cars_meta.mat (here or in devkit/)",
            source="Krause, Stark, Deng, Fei-Fei. 3D object representations, 3dRR 2013",
            splits="train and test by the .mat files",
            markers=("|".join(place + TRAIN for place in PLACES), "cars_train/"),
            read=read_car_folders,
            options=("crop",),
        ),
        LayoutRow(
            name="stanford-cars-list",
            summary="car_ims/ and cars_annos.mat",
            source="Krause, Stark, Deng, Fei-Fei. 3D object representations, 3dRR 2013",
            splits="train and test by cars_annos.mat",
            markers=("cars_annos.mat|devkit/cars_annos.mat",),
            read=read_car_list,
            options=("crop",),
        ),
        LayoutRow(
            name="fgvc-aircraft",
            summary="images/, images_variant_train.txt and its like (here or in data/)",
            source="Maji, Rahtu, Kannala, Blaschko, Vedaldi. Fine-grained visual classification "
            "of aircraft, 2013",
            splits="train, val and test by images_variant_*.txt, or those of family, manufacturer",
            markers=("|".join(f"{p}images_{n}_t*.txt" for p in ("", "data/") for n in LEVELS),),
            read=read_aircraft,
            options=("labels", "crop"),
        ),
        LayoutRow(
            name="oxford-pets",
            summary="images/, annotations/trainval.txt, annotations/test.txt",
            source="Parkhi, Vedaldi, Zisserman, Jawahar. Cats and dogs, CVPR 2012",
            splits="train by trainval.txt, test by test.txt",
            markers=("annotations/trainval.txt", "images/"),
            read=read_pets,
            options=("labels",),
        ),
        LayoutRow(
            name="flowers-102",
            summary="jpg/image_00001.jpg, imagelabels.mat, setid.mat",
            source="Nilsback, Zisserman. Automated flower classification, ICVGIP 2008",
            splits="train, val and test by setid.mat",
            markers=("imagelabels.mat|setid.mat", "jpg/"),
            read=read_flowers,
        ),
        LayoutRow(
            name="food-101",
            summary="images/, meta/train.json, meta/test.json (or .txt)",
            source="Bossard, Guillaumin, Van Gool. Food-101, ECCV 2014",
            splits="train and test by meta/",
            markers=("images/", "meta/train.json|meta/train.txt", "meta/"),
            read=read_food,
        ),
        LayoutRow(
            name="dtd",
            summary="images/, labels/train1.txt, val1.txt, test1.txt ... test10.txt",
            source="Cimpoi, Maji, Kokkinos, Mohamed, Vedaldi. Describing textures in the wild, "
            "CVPR 2014",
            splits="train, val and test by labels/, split 1 of 10",
            markers=("images/", "labels/train1.txt|labels/test1.txt"),
            read=read_textures,
            options=("data_split",),
        ),
        LayoutRow(
            name="coco",
            summary="train2017.json, train.json, annotations/instances_train2017.json or "
            "train/_annotations.coco.json beside the images",
            source="iNaturalist 2017 to 2021 (Van Horn et al., CVPR 2018 and 2021); Lin et al. "
            "Microsoft COCO, ECCV 2014; Roboflow",
            splits="train, val and test by the names of the lists",
            markers=("|".join(LISTS),),
            confirmed=holds_coco,
            read=read_coco,
            options=("labels",),
        ),
        LayoutRow(
            name="coco-file",
            summary="one such list; paths are relative to it",
            source="iNaturalist, COCO",
            splits="the one in its name, or none",
            markers=("*.json",),
            confirmed=is_coco,
            read=read_coco,
            options=("labels",),
            is_file=True,
        ),
        LayoutRow(
            name="places365",
            summary="data_256_standard/ (or data_256/, data_large/), val_256/, "
            "categories_places365.txt, places365_train_standard.txt, places365_val.txt",
            source="Zhou, Lapedriza, Khosla, Oliva, Torralba. Places, TPAMI 2017",
            splits="train and val by the lists",
            markers=(
                "categories_places365.txt|filelist_places365-*/categories_places365.txt",
                "data_256*/|data_large*/|train_256/",
            ),
            read=read_places,
        ),
        LayoutRow(
            name="caltech",
            summary="101_ObjectCategories/ with BACKGROUND_Google/, 256_ObjectCategories/ with "
            "257.clutter/",
            source="Fei-Fei, Fergus, Perona, 2004; Griffin, Holub, Perona. Caltech-256, 2007",
            splits="none",
            markers=(
                "101_ObjectCategories/|256_ObjectCategories/|BACKGROUND_Google/|257.clutter/",
            ),
            read=read_caltech,
        ),
        LayoutRow(
            name="sun397",
            summary="SUN397/a/abbey/..., ClassName.txt, Training_01.txt, Testing_01.txt",
            source="Xiao, Hays, Ehinger, Oliva, Torralba. SUN database, CVPR 2010",
            splits="train and test by Training_01.txt and Testing_01.txt, split 1 of 10",
            markers=("SUN397/ClassName.txt|ClassName.txt|SUN397/a/|Training_01.txt",),
            read=read_sun,
            options=("data_split",),
        ),
        LayoutRow(
            name="stanford-dogs",
            summary="Images/, Annotation/, train_list.mat, test_list.mat",
            source="Khosla, Jayadevaprakash, Yao, Fei-Fei. Stanford Dogs, FGVC 2011",
            splits="train and test by the .mat files",
            markers=("Images/", "train_list.mat|lists/train_list.mat"),
            read=read_dogs,
            options=("crop",),
        ),
        LayoutRow(
            name="tiny-imagenet",
            summary="train/n01443537/images/, val/images/, val/val_annotations.txt, wnids.txt",
            source="Stanford CS231n. Tiny ImageNet, 2015",
            splits="train by folders, val by val_annotations.txt; test has no labels",
            markers=("train/", "val/val_annotations.txt", "val/images/*.*"),
            read=read_tiny,
        ),
        LayoutRow(
            name="imagenet-kaggle",
            summary="ILSVRC/Data/CLS-LOC/train/ and val/ (or train/ and val/), with "
            "LOC_val_solution.csv",
            source="Russakovsky et al. ImageNet, IJCV 2015; Kaggle's archive",
            splits="train by folders, val by LOC_val_solution.csv; test has no labels",
            markers=(SOLUTION,),
            confirmed=holds_loose_validation,
            read=read_kaggle,
        ),
        LayoutRow(
            name="imagenet-devkit",
            summary=f"train/, val/ and {TRUTH} with meta.mat (here, in data/ or the devkit)",
            source="Russakovsky et al. ImageNet, IJCV 2015; ILSVRC2012_devkit_t12",
            splits="train by folders, val by the devkit",
            markers=("|".join(place + TRUTH for place in DEVKITS),),
            without=(SOLUTION,),
            confirmed=holds_loose_validation,
            read=read_devkit,
        ),
        LayoutRow(
            name="imagenette-csv",
            summary="noisy_imagenette.csv: path, noisy_labels_0, noisy_labels_5, ..., is_valid",
            source="Howard. Imagenette and Imagewoof, github.com/fastai/imagenette",
            splits="train and val by is_valid",
            markers=("*.csv",),
            confirmed=is_noisy_list,
            read=read_noisy,
            options=("labels",),
            is_file=True,
        ),
        LayoutRow(
            name="path-list",
            summary="a text file with a path and a label per line",
            source="Caffe, and many data sets after it: ct_train.txt, train.txt",
            splits="none",
            markers=("*.txt|*.lst",),
            confirmed=is_path_list,
            read=read_path_list,
            is_file=True,
        ),
        LayoutRow(
            name="path-lists",
            summary="train.txt, val.txt or test.txt with a path and a label per line",
            source="Caffe, and many data sets after it",
            splits="train, val and test by the names of the lists",
            markers=("|".join(f"{place}train*.txt" for place in LIST_PLACES),),
            confirmed=holds_path_lists,
            read=read_path_lists,
        ),
        LayoutRow(
            name="imagefolder",
            summary="images with a metadata.csv or metadata.jsonl: file_name and label",
            source="Hugging Face datasets, imagefolder",
            splits="train, validation and test by folders",
            markers=("metadata.csv|metadata.jsonl|train/metadata.csv|train/metadata.jsonl",),
            confirmed=holds_metadata,
            read=read_image_folder,
            options=("labels",),
        ),
        LayoutRow(
            name="webdataset",
            summary="train-0000.tar, val-0000.tar; the same as wds/FOLDER",
            source="WebDataset, github.com/webdataset/webdataset",
            splits="train, val and test by the names of the files, or by _info.json",
            markers=("*.tar",),
            confirmed=holds_shards,
            read=read_shards,
        ),
        LayoutRow(
            name="parquet",
            summary="data/train-00000-of-00001.parquet; the same as hfds/FOLDER",
            source="Hugging Face datasets",
            splits="as the data set calls them",
            markers=("data/*.parquet|*.parquet",),
            read=read_tables,
        ),
    ),
)
