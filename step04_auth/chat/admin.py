"""Messages in Django's admin: to be searched and deleted, not written or changed."""

from django.contrib import admin

from .models import Message


@admin.register(Message)
class MessageAdmin(admin.ModelAdmin):
    """Show messages, newest first."""

    list_display = ["sent_at", "room", "user", "__str__"]
    list_filter = ["sent_at"]
    search_fields = ["room", "user__username", "text"]
    ordering = ["-id"]
    readonly_fields = ["sent_at"]  # Django leaves out what nobody can edit

    def has_add_permission(self, request):
        """Nobody adds a message here: the room would not hear it."""
        return False

    def has_change_permission(self, request, obj=None):
        """Nobody changes what somebody else said."""
        return False
