"""The layouts in which data sets for retrieval come, a row each."""

from pathlib import Path

from covtool.data.datasets.layout_row import LayoutRow
from covtool.data.datasets.lists.labeled import is_table
from covtool.data.datasets.retrieval.image_names import (
    MARKET,
    MSMT_LISTS,
    PLAIN,
    VERI,
    read_market,
    read_msmt17,
    read_plain,
    read_veri,
)
from covtool.data.datasets.retrieval.labeled import read_csv, read_folders
from covtool.data.datasets.retrieval.published import (
    IN_SHOP,
    PRODUCTS,
    VEHICLE_LISTS,
    has_identity_folders,
    holds_in_shop,
    read_identity_folders,
    read_in_shop,
    read_products,
    read_vehicle_id,
)
from covtool.data.datasets.retrieval_layout import RetrievalLayout
from covtool.registry import Registry

SUBSETS = "train, query, gallery"

FORMS: Registry[LayoutRow[RetrievalLayout]] = Registry(
    "form of data",
    (
        LayoutRow(
            name="market1501",
            summary="bounding_box_train/, query/, bounding_box_test/, names like "
            "0002_c1s1_000451_03.jpg",
            source="Market-1501, DukeMTMC-reID, CUHK03 (new protocol)",
            splits=SUBSETS,
            markers=(f"{MARKET.train}/|{MARKET.gallery}/",),  # query/ alone could be anything
            read=read_market,
        ),
        LayoutRow(
            name="veri",
            summary="image_train/, image_query/, image_test/, names like 0001_c001_00016450_0.jpg",
            source="VeRi-776",
            splits=SUBSETS,
            markers=(f"{VERI.train}/|{VERI.gallery}/",),
            read=read_veri,
        ),
        LayoutRow(
            name="msmt17",
            summary="list_train.txt, list_val.txt, list_query.txt, list_gallery.txt beside the "
            "images",
            source="MSMT17 V1 and V2",
            splits="train, val, query, gallery",
            markers=("|".join(name for name, _ in MSMT_LISTS.values()),),
            read=read_msmt17,
        ),
        LayoutRow(
            name="layumi",
            summary="train/, val/, query/, gallery/ with a folder per identity, names like "
            "Market-1501's",
            source="Zheng. Person_reID_baseline_pytorch, github.com/layumi",
            splits="train, val (of the trained identities), query, gallery",
            markers=("query/", "gallery/"),
            confirmed=has_identity_folders,
            read=read_identity_folders,
        ),
        LayoutRow(
            name="query-gallery",
            summary="train/, query/, gallery/ with names like 0002_c1s1_000451_03.jpg",
            source="re-identification",
            splits=SUBSETS,
            markers=("query/", "gallery/"),  # after layumi's, which has them as well
            confirmed=PLAIN.fit_by_name,
            read=read_plain,
        ),
        LayoutRow(
            name="in-shop",
            summary="list_eval_partition.txt (here or in Eval/) and img/",
            source="Liu, Luo, Qiu, Wang, Tang. DeepFashion, CVPR 2016: In-Shop Clothes Retrieval",
            splits=SUBSETS,
            markers=("|".join(IN_SHOP),),
            confirmed=holds_in_shop,
            read=read_in_shop,
        ),
        LayoutRow(
            name="vehicleid",
            summary="image/, train_test_split/train_list.txt, train_test_split/test_list_800.txt",
            source="Liu, Tian, Wang, Pang, Huang. PKU VehicleID, CVPR 2016",
            splits="train, test (800 vehicles or another list)",
            markers=(f"{VEHICLE_LISTS}/*_list*.txt",),
            read=read_vehicle_id,
            options=("data_split",),
        ),
        LayoutRow(
            name="sop",
            summary="Ebay_train.txt, Ebay_test.txt beside the folders that they name",
            source="Oh Song, Xiang, Jegelka, Savarese. Stanford Online Products, CVPR 2016",
            splits="train, test",
            markers=("|".join(PRODUCTS.values()),),
            read=read_products,
        ),
        LayoutRow(
            name="csv",
            summary="columns path,identity and perhaps camera,split",
            source="covtool",
            splits="train, val, query, gallery, test",
            confirmed=is_table,
            read=read_csv,
            is_file=True,
        ),
        # Last: every folder fits.
        LayoutRow(
            name="folders",
            summary="a folder per class, in train/ and test/ or without splits",
            source="covtool",
            splits="train, val, test",
            confirmed=Path.is_dir,
            read=read_folders,
            options=("class_folders",),
        ),
    ),
)
