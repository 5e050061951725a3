from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0003_seq"),
    ]

    operations = [
        migrations.AddField(
            model_name="message",
            name="client_id",
            field=models.CharField(editable=False, max_length=64, null=True),
        ),
        migrations.AddConstraint(
            model_name="message",
            constraint=models.UniqueConstraint(
                fields=("client_id", "user", "room"), name="one_message_per_client_id"
            ),
        ),
    ]
