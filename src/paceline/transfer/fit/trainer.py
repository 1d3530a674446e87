"""A training: the head first, then a learning rate, then all that a method learns."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, final

import torch
from msgspec.structs import replace
from torch import Tensor

from paceline.errors import ConfigError
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Preprocessing
from paceline.transfer.fit.checkpoint import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from paceline.transfer.fit.head import FittedHead, features_of, fit_head, train_features
from paceline.transfer.fit.history import EpochRecord, History, Progress, Silent
from paceline.transfer.fit.learner import Learner, check_loss
from paceline.transfer.fit.numerics import Numerics, threads
from paceline.transfer.fit.options import FitOptions
from paceline.transfer.fit.prefix import make_feed
from paceline.transfer.fit.schedule import rate_factor
from paceline.transfer.fit.state import Identity, Standing, copied, put_back
from paceline.transfer.fit.stopping import Stopping
from paceline.transfer.fit.trials import choose_rate
from paceline.transfer.methods import Method, prepare

if TYPE_CHECKING:
    from paceline.transfer.pictures.pictures import Pictures


def fit(
    net: AdaptedNet,
    train: Pictures,
    val: Pictures,
    method: Method,
    options: FitOptions | None = None,
    *,
    preprocessing: Preprocessing,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> History:
    """Trains ``net``, as ``method.make`` made it, and leaves it with the weights of its best epoch, in evaluation mode.

    With ``checkpoint``, a file, the training is saved every ``checkpoint_every_s``. ``resume`` goes on from there, on a CPU with as
    many threads bit for bit as if nothing had happened, and begins anew if there is no such file.

    Raises ConfigError for a checkpoint of another training, ResourceError if one cannot be written (the one before is
    kept), ExecutionError if the loss is no number any more.
    """
    options = options or FitOptions()
    _check(net, train, val)
    with threads(options.num_threads):
        training = _Training(net, train, val, method, options, preprocessing, checkpoint, progress or Silent())
        with training.numerics.kept_kernels(net):
            return training.run(resume)


def _check(net: AdaptedNet, train: Pictures, val: Pictures) -> None:
    num_classes = net.head.out_features
    for name, pictures in (("training", train), ("validation", val)):
        if not len(pictures):
            raise ConfigError(f"there are no {name} pictures")
        if not 0 <= int(pictures.labels.min()) <= int(pictures.labels.max()) < num_classes:
            raise ConfigError(
                f"labels of {name} pictures must be 0 to {num_classes - 1}, as the head has classes, got "
                f"{int(pictures.labels.min())} to {int(pictures.labels.max())}"
            )


def class_weights(pictures: Pictures, num_classes: int) -> Tensor:
    """[K] by which all classes weigh the same together; 1 on average over the pictures."""
    counts = torch.bincount(torch.from_numpy(pictures.labels), minlength=num_classes)
    num_present = int((counts > 0).sum())
    return len(pictures) / (num_present * counts.clamp_min(1).float())


@final
class _Training:
    """One call of ``fit``."""

    def __init__(
        self,
        net: AdaptedNet,
        train: Pictures,
        val: Pictures,
        method: Method,
        options: FitOptions,
        preprocessing: Preprocessing,
        checkpoint: Path | None,
        progress: Progress,
    ) -> None:
        numerics = Numerics(options.device, options.precision)
        self.identity = Identity.of(net, method, train, val, options)
        prepare(net, method)
        net.to(numerics.device)
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        weights = class_weights(train, net.head.out_features).to(numerics.device) if options.balance_classes else None
        feed = make_feed(net, train, val, preprocessing, options, numerics)
        self.net, self.feed, self.numerics = net, feed, numerics
        self.learner = Learner(net, feed, options, numerics, head_share=method.head_share, class_weights=weights)
        self.method, self.options = method, options
        self.checkpoint, self.progress = checkpoint, progress
        self.best = copied(self.learner.tensors)
        self.num_epochs = 0 if method.trains == "head" else options.epochs
        self.base_rate = options.learning_rate or method.learning_rate
        self.saved_at = time.monotonic()

    def run(self, resume: bool) -> History:
        standing = self._resumed() if resume else None
        if standing is None:
            standing = self._begun()
            self._save(standing)
        while standing.epoch <= self.num_epochs and not standing.stopping.stop:
            standing = self._finished_epoch(standing)
        self._save(standing)
        self._finish()
        return standing.history

    def _finish(self) -> None:
        """Takes the weights of the best epoch, and makes the logits as sharp as they were judged."""
        put_back(self.learner.tensors, self.best)
        put_back(self.learner.averaged, self.best)
        sharpness = self.learner.judge().sharpness
        with torch.no_grad():
            self.net.head.weight.mul_(sharpness)
            self.net.head.bias.mul_(sharpness)
        self.net.eval()

    # -- before the first epoch --------------------------------------------------------------------------------------

    def _begun(self) -> Standing:
        standing = Standing(
            stopping=Stopping(patience=self.options.patience), history=History(num_trained=_num_trained(self.net))
        )
        if self.method.pretrained:
            standing = self._with_head(standing)
        if not self.num_epochs:
            return standing
        if not self.options.check_learning_rate:
            return replace(standing, history=replace(standing.history, learning_rate=self.base_rate))
        started = time.monotonic()
        rate, trials = choose_rate(self.learner, self.base_rate, self.options, self.progress)
        seconds = time.monotonic() - started
        return replace(standing, history=replace(standing.history, learning_rate=rate, trials=trials, trials_s=seconds))

    def _with_head(self, standing: Standing) -> Standing:
        """The head is fitted to features of the network as it is."""
        started = time.monotonic()
        num_passes = self.options.head_epochs if self.options.augment else 1
        self.progress.begin("head", (num_passes * self.feed.num_batches))
        features = train_features(self.net, self.feed, num_passes, self.numerics, lambda: self.progress.step(0.0))
        held_out = features_of(self.net, self.feed, self.feed.held_out(), self.numerics, lambda: None)
        head = fit_head(features, held_out, self.net.head.out_features, self.learner.class_weights)
        self._take(head)
        seconds = time.monotonic() - started
        found = self.learner.judge()
        record = EpochRecord(
            epoch=0,
            phase="head",
            train_loss=head.loss,
            val_loss=found.loss,
            val_top1=found.top1,
            learning_rate=0.0,
            seconds=seconds,
        )
        history = replace(standing.history, epochs=(record,), head_penalty=head.penalty)
        return self._judged(replace(standing, history=history), record)

    def _take(self, head: FittedHead) -> None:
        with torch.no_grad():
            self.net.head.weight.copy_(head.weight)
            self.net.head.bias.copy_(head.bias)
        self.learner.forget()

    # -- epochs ------------------------------------------------------------------------------------------------------

    def _finished_epoch(self, standing: Standing) -> Standing:
        """The rest of the epoch in progress."""
        rate, num_steps = 0.0, self.num_epochs * self.feed.num_batches
        if standing.batch == 0:
            self.progress.begin("all", self.feed.num_batches)
        started = time.monotonic()
        for inputs, labels in self.feed.batches(standing.epoch, standing.batch):
            step = (standing.epoch - 1) * self.feed.num_batches + standing.batch
            rate = standing.history.learning_rate * rate_factor(step, num_steps, self.options.warmup_share)
            loss = self.learner.step(inputs, labels, rate, step)
            self.progress.step(loss)
            now = time.monotonic()
            standing = replace(
                standing,
                batch=standing.batch + 1,
                loss_sum=standing.loss_sum + loss * len(labels),
                num_seen=standing.num_seen + len(labels),
                seconds=standing.seconds + now - started,
            )
            started = now
            if now - self.saved_at >= self.options.checkpoint_every_s:
                self._save(standing)
        return self._judged_epoch(standing, rate)

    def _judged_epoch(self, standing: Standing, rate: float) -> Standing:
        found = self.learner.judge()
        check_loss(found.loss, standing.epoch * self.feed.num_batches, rate)
        record = EpochRecord(
            epoch=standing.epoch,
            phase="all",
            train_loss=standing.loss_sum / standing.num_seen,
            val_loss=found.loss,
            val_top1=found.top1,
            learning_rate=rate,
            seconds=standing.seconds,
        )
        history = replace(standing.history, epochs=(*standing.history.epochs, record))
        return self._judged(Standing(epoch=standing.epoch + 1, stopping=standing.stopping, history=history), record)

    def _judged(self, standing: Standing, record: EpochRecord) -> Standing:
        """Keeps the weights if they are the best so far."""
        stopping = standing.stopping.after(record.epoch, record.val_loss)
        if stopping.best_epoch == record.epoch:
            self.best = copied(self.learner.averaged)
        self.progress.end_epoch(record)
        history = replace(standing.history, best_epoch=stopping.best_epoch)
        return replace(standing, stopping=stopping, history=history)

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def _save(self, standing: Standing) -> None:
        if self.checkpoint is None:
            return
        parts = {
            "net": self.learner.tensors,
            "averaged": self.learner.averaged,
            "best": self.best,
            "optimizer": optimizer_tensors(self.learner.optimizer),
        }
        save_checkpoint(self.checkpoint, self.identity, standing, parts)
        self.saved_at = time.monotonic()

    def _resumed(self) -> Standing | None:
        if self.checkpoint is None or not self.checkpoint.exists():
            return None
        held = load_checkpoint(self.checkpoint, self.identity)
        put_back(self.learner.tensors, held.part("net"))
        put_back(self.learner.averaged, held.part("averaged"))
        put_back(self.best, held.part("best"))
        restore_optimizer(self.learner.optimizer, held.part("optimizer"))
        return held.standing


def _num_trained(net: AdaptedNet) -> int:
    """Numbers that are learned, without the head, which each method has."""
    return sum(
        parameter.numel()
        for name, parameter in net.named_parameters()
        if parameter.requires_grad and not name.startswith("head.")
    )
