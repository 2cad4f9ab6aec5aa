"""What stands in the README of a package: how to open it in the tool, what to mark, how to give it back."""

from __future__ import annotations

ABOUT = {
    "cvat": (
        "CVAT",
        """1. Create a task with the images of `images/`. Labels: paste `labels.json` into the Raw tab.
2. In the task: Upload annotations, format "CVAT 1.1", file `annotations.xml`.
3. Correct shapes, add what is missing, delete what is wrong.
4. On each image that you have looked at, set `reviewed` of the tag "synthgen: image" to `human`; where there is nothing
   to label, set `empty` to `confirmed`. An image without the tag: add it. (Whoever takes the work in may instead say
   that everything was looked at.)
5. Export as "CVAT for images 1.1", with or without images.""",
    ),
    "labelstudio": (
        "Label Studio",
        """1. Start the server with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and
   LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT set to this folder, and add the folder `images` as local storage.
2. New project; Labeling Setup, Custom template, Code: paste `label_config.xml`. Import `tasks.json`.
3. Open a task, take the prediction over, correct it and submit. Nothing to label: submit without a region.
4. Export as JSON (not JSON-MIN). Tasks that nobody submitted are not counted; the time spent is in the export.""",
    ),
    "voc": (
        "LabelImg",
        """1. Open Dir: `JPEGImages`; Change Save Dir: `Annotations`; format PascalVOC.
2. Correct boxes, add what is missing, delete what is wrong, and save each image that you looked at; or mark it as
   verified (space). Nothing to label: save it without a box.
3. LabelImg knows boxes only: where there are masks, keep them as they are and delete what is wrong; redraw masks in
   CVAT or Label Studio.
4. Give the whole folder back.""",
    ),
    "yolo": (
        "a tool that reads YOLO",
        """1. Open `data.yaml`. Labels are the .txt files in `labels/`, one line per object.
2. Correct lines, add what is missing, delete what is wrong. Nothing to label: leave an empty .txt.
3. Give the whole folder back. The format cannot say who looked: images without a change count only if whoever takes
   the work in says that everything was looked at.""",
    ),
    "coco": (
        "a tool that reads COCO",
        """1. Open `annotations.json`; masks are run lengths.
2. Correct shapes, add what is missing, delete what is wrong.
3. Give the folder, or the new JSON, back. If the tool does not keep the key `reviewed` of an image, images without a
   change count only if whoever takes the work in says that everything was looked at.""",
    ),
}


def guide(form: str, images: int, blind: bool) -> str:
    """The README of a package."""
    tool, steps = ABOUT[form]
    hidden = (
        "\nSome images come without labels on purpose, to measure how much the model's labels sway who sees them: "
        "label those from nothing.\n"
        if blind
        else ""
    )
    return f"""# {images} images to review in {tool}

The labels were made by a model. They are a proposal: some are wrong, some are missing.
{hidden}
{steps}

Files may be renamed; images are known by their pixels (`manifest.json`). Do not resize them or save them as JPEG.
Take the work back with: `synthgen review RECIPE --take PATH --format {form}`
"""
