"""Fine-tune an encoder and watch its geometry: python watch_geometry.py MODEL OUT"""

import sys

from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

import geomprobe.tasks.controlled
from geomprobe.integrations.transformers import GeometryCallback

model_name, out = sys.argv[1:3]
task = geomprobe.tasks.controlled.load("controlled-sentiment")  # your own texts and labels here
tokenizer = AutoTokenizer.from_pretrained(model_name)
model = AutoModelForSequenceClassification.from_pretrained(model_name, num_labels=2)
train, test = (
    Dataset.from_dict({**tokenizer(list(split.first[:400]), truncation=True), "labels": split.labels[:400]})
    for split in (task.train, task.validation)
)

callback = GeometryCallback(task.validation.first[:300], every=10)
args = TrainingArguments(
    out, max_steps=40, logging_steps=10, eval_strategy="steps", eval_steps=20, save_steps=20, report_to="tensorboard",
    load_best_model_at_end=True, metric_for_best_model="geometry/effective_rank", greater_is_better=True,
)  # fmt: skip
trainer = Trainer(model, args, train_dataset=train, eval_dataset=test, processing_class=tokenizer, callbacks=[callback])
trainer.train()
print(callback.summary)
