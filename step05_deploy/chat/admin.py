"""Messages in Django's admin: to search and delete, not to add or change."""

from django.contrib import admin

from .models import Message


@admin.register(Message)
class MessageAdmin(admin.ModelAdmin):
    """List the messages, newest first."""

    list_display = ["sent_at", "room", "user", "__str__"]
    list_select_related = ["user"]  # one query for all rows, not one for each
    list_filter = ["sent_at"]
    search_fields = ["room", "user__username", "text"]
    ordering = ["-id"]
    readonly_fields = ["sent_at"]  # Django hides a field that nobody can edit

    def has_add_permission(self, request):
        """Refuse to add a message: the room would not hear it."""
        return False

    def has_change_permission(self, request, obj=None):
        """Refuse to change a message: those are another person's words."""
        return False
