"""Close the sockets of a user who may no longer speak, in every tab and device."""

import logging
from functools import partial

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

EVERYBODY = "everybody"  # the group of all processes that have sockets


def close_sockets(user_id):
    """Tell all processes to close a user's sockets. Not for async code."""
    event = {"type": "user.signed_out", "user": user_id}
    try:
        async_to_sync(get_channel_layer().group_send)(EVERYBODY, event)
    except RedisError as error:
        # The session has ended. The person should see that, also without Redis.
        logger.error("user %s keeps sockets for up to 30 s: %r", user_id, error)


@receiver(user_logged_out)
def signed_out(sender, request, user, **kwargs):
    """Close the sockets of a user who signs out."""
    if user is not None:
        # Django ends the session after this signal. A socket that connects in between
        # would find the session, and join the group too late. So end it first.
        request.session.flush()
        close_sockets(user.pk)


@receiver(post_save, sender=get_user_model())
def deactivated(sender, instance, **kwargs):
    """Close the sockets of a user that the admin has made inactive."""
    if not instance.is_active:
        # After the commit: before it, a socket that connects finds an active user.
        transaction.on_commit(partial(close_sockets, instance.pk))


@receiver(post_delete, sender=get_user_model())
def deleted(sender, instance, **kwargs):
    """Close the sockets of a user that the admin has deleted."""
    transaction.on_commit(partial(close_sockets, instance.pk))
