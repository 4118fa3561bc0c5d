"""The first tables."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    operations = (
        migrations.CreateModel(
            name="Notification",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("timestamp", models.CharField(max_length=40)),
                ("severity", models.CharField(max_length=20)),
                ("message", models.TextField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("timestamp", "severity", "message"), name="one_row_a_notification")
                ],
            },
        ),
    )
