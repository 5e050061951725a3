from django.db import migrations, models


def number_messages(apps, schema_editor):
    """Number the messages of each room in the order in which they were stored."""
    Message = apps.get_model("chat", "Message")
    Room = apps.get_model("chat", "Room")
    for name in Message.objects.values_list("room", flat=True).distinct():
        messages = Message.objects.filter(room=name).order_by("id").only("id")
        numbered = []
        for seq, message in enumerate(messages.iterator(), start=1):
            message.seq = seq
            numbered.append(message)
        Message.objects.bulk_update(numbered, ["seq"], batch_size=500)
        Room.objects.create(name=name, seq=len(numbered))


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0002_message_user"),
    ]

    operations = [
        migrations.CreateModel(
            name="Room",
            fields=[
                ("name", models.CharField(max_length=50, primary_key=True, serialize=False)),
                ("seq", models.BigIntegerField(default=0)),
            ],
        ),
        migrations.AddField(
            model_name="message",
            name="seq",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.RunPython(number_messages, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="message",
            name="seq",
            field=models.BigIntegerField(editable=False),
        ),
        migrations.RemoveIndex(
            model_name="message",
            name="chat_messag_room_47f024_idx",
        ),
        migrations.AddConstraint(
            model_name="message",
            constraint=models.UniqueConstraint(
                fields=("room", "seq"), name="one_message_per_number"
            ),
        ),
    ]
